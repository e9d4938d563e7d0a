"""One optimizer for R runs over a flat buffer ``[R, P]``, with hyperparameters that differ between runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suite.fields import ConfigError
from suite.optim.config import SAMPLED_GRADIENT, OptimizerConfig
from suite.optim.factory import RuleGroup, rule_groups
from suite.optim.trial import try_rule
from suite.packs.runs_step import RunsStep
from suite.packs.torch_rows import SHORTEST, TorchRows

ELEMENTS_AT_A_TIME = 1 << 18
"""Number of elements that an elementwise rule handles at a time on a CPU, so that temporaries stay in a cache."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns of each parameter in a run's row of the buffer.

    Attributes:
        shapes: parameter name -> shape, in the order of the columns.
    """

    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, network: nn.Module, order: Sequence[str]) -> Layout:
        """The layout of a network's trainable parameters in a given order."""
        shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if p.requires_grad}
        return cls({name: shapes[name] for name in order})

    @property
    def size(self) -> int:
        """Number of elements per run, P."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def spans(self) -> dict[str, tuple[int, int]]:
        """Parameter name -> first column and the one after its last."""
        ends = itertools.accumulate(map(math.prod, self.shapes.values()), initial=0)
        return dict(zip(self.shapes, itertools.pairwise(ends), strict=True))

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a buffer ``[R, P]``, one ``[R, *shape]`` per parameter."""
        spans = self.spans()
        return {name: flat[:, slice(*spans[name])].view(len(flat), *shape) for name, shape in self.shapes.items()}


def shared_groups(configs: Sequence[OptimizerConfig], network: nn.Module) -> list[list[RuleGroup]]:
    """The rule groups of R configs over one network: an outer list over groups, an inner one over runs.

    Raises:
        ConfigError: the configs differ in more than float fields, or a rule cannot update several runs at once.
    """
    by_run = [rule_groups(config, network) for config in configs]
    groups = [list(same) for same in zip(*by_run, strict=True)] if len({len(g) for g in by_run}) == 1 else []
    if not groups:
        raise ConfigError("Runs trained at once must share the groups of their parameters.")
    for same in groups:
        first = same[0]
        if type(first.config).rule is OptimizerConfig.rule:
            raise ConfigError(f"{type(first.config).__name__} is another library's and trains one run at a time.")
        if try_rule(first.config):
            raise ConfigError(f"{type(first.config).__name__} draws random numbers and trains one run at a time.")
        if any(fixed_part(g) != fixed_part(first) for g in same):
            raise ConfigError("Runs trained at once must have optimizers that differ in numbers alone.")
    if len(groups) > 1 and any(same[0].config.scope == "global" for same in groups):
        raise ConfigError("A rule over all parameters cannot be split over groups where runs are trained at once.")
    return groups


class RunsOptimizer(torch.optim.Optimizer):
    """Updates R runs, each with its own hyperparameters, by the same pure rules as the optimizers of single runs.

    Args:
        flat: the parameters of all runs, ``[R, P]``, with columns in the order of ``layout``.
        layout: the columns of each parameter; those of a group are contiguous.
        groups: see `shared_groups`.
    """

    def __init__(self, flat: nn.Parameter, layout: Layout, groups: Sequence[Sequence[RuleGroup]]) -> None:
        super().__init__([flat], {"lr": 1.0})
        self.param_groups[0]["initial_lr"] = 1.0
        self.layout = layout
        self._flat = flat
        self._groups = [(same[0].config, list(same[0].names)) for same in groups]
        self._samples = any(config.sampled_every for config, _ in self._groups)
        self._numbers = [_numbers(same, flat.device) for same in groups]
        self._torch = [TorchRows.of(same, flat.detach()) for same in groups]

    @property
    def steps_done(self) -> int:
        """Number of steps taken so far."""
        return self.state[self._flat].get("step", 0)

    @property
    def numbers(self) -> list[dict[str, Tensor]]:
        """Hyperparameters of each group, float64 ``[R, 1]``, on the parameters' device."""
        device = self._flat.device
        self._numbers = [{name: value.to(device) for name, value in group.items()} for group in self._numbers]
        return self._numbers

    @property
    def buffers(self) -> dict[str, dict[str, Tensor]]:
        """State tensors by range of columns (named after its first parameter) and by name; written in place."""
        state = self.state[self._flat]
        if "parts" not in state:
            state["parts"] = {
                key: config.init_state(self._flat.data[:, columns].unflatten(1, shape))
                for config, names in self._groups
                for key, columns, shape in self._stretches(config, names)
            }
        return state["parts"]

    def needs_sampled_gradient(self) -> bool:
        """Whether a rule's next step needs the gradient on drawn labels; see `OptimizerConfig.sampled_every`."""
        return self._samples and any(config.needs_sampled_gradient(self.steps_done + 1) for config, _ in self._groups)

    def buffers_with(self, sampled: Tensor) -> dict[str, dict[str, Tensor]]:
        """`buffers` for the next step, with the sampled gradient for the rules that it is due for.

        Args:
            sampled: ``[R, P]``; see `OptimizerConfig.sampled_every`.
        """
        buffers = dict(self.buffers)
        for config, names in self._groups:
            if config.needs_sampled_gradient(self.steps_done + 1):
                for key, columns, shape in self._stretches(config, names):
                    buffers[key] = {**buffers[key], SAMPLED_GRADIENT: sampled[:, columns].unflatten(1, shape)}
        return buffers

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Count the step that `move` has taken."""
        self.state[self._flat]["step"] = self.steps_done + 1
        return None if closure is None else closure()

    def move(self, step: RunsStep) -> None:
        """Update the runs that are alive; it reads and writes only tensors of ``step``, so that it can be traced."""
        for (config, names), numbers, rows in zip(self._groups, step.numbers, self._torch, strict=True):
            hyper = {**numbers, "lr": step.rate.of(numbers["lr"])}
            is_later = not step.is_traced and step.count > 1
            is_due = self._samples and not step.is_traced and config.needs_sampled_gradient(step.count)
            for key, columns, shape in self._stretches(config, names):
                if is_due and SAMPLED_GRADIENT not in step.buffers[key]:
                    config.require_sampled_gradient(step.count)
                if rows is not None and is_later and columns.stop - columns.start >= SHORTEST:
                    rows.move(step, columns, step.buffers[key])
                    continue
                by_element = config.scope == "element"
                for piece in self._cut(columns) if by_element and not step.is_traced else [columns]:
                    within = slice(piece.start - columns.start, piece.stop - columns.start)
                    state = {name: v[:, within] if by_element else v for name, v in step.buffers[key].items()}
                    _move(config, step, piece, shape, state, hyper)

    def keep(self, rows: Tensor) -> None:
        """Drop all runs but those in ``rows``, int64, after the caller has dropped their parameters."""
        for tensors in self.buffers.values():
            tensors.update({name: value[rows] for name, value in tensors.items()})
        self._numbers = [{name: v[rows.to(v.device)] for name, v in group.items()} for group in self._numbers]
        self._torch = [kernels and kernels.keep(rows.tolist(), self._flat.detach()) for kernels in self._torch]

    def _stretches(self, config: OptimizerConfig, names: list[str]) -> list[tuple[str, slice, tuple[int, ...]]]:
        """The ranges of columns that a rule gets at once: name, columns, and the shape that the rule needs."""
        spans = self.layout.spans()
        if config.scope in ("global", "element"):
            return [(names[0], slice(spans[names[0]][0], spans[names[-1]][1]), (-1,))]
        rows = {name: (self.layout.shapes[name][0], -1) if config.scope == "matrix" else (-1,) for name in names}
        return [(name, slice(*spans[name]), rows[name]) for name in names]

    def _cut(self, columns: slice) -> list[slice]:
        """Cut columns into pieces whose temporaries stay in a CPU's cache; no cuts on a GPU."""
        if self._flat.is_cuda:
            return [columns]
        wide = max(1024, ELEMENTS_AT_A_TIME // len(self._flat))
        return [slice(c, min(c + wide, columns.stop)) for c in range(columns.start, columns.stop, wide)]


def _move(
    config: OptimizerConfig,
    step: RunsStep,
    columns: slice,
    shape: tuple[int, ...],
    state: Mapping[str, Tensor],
    hyper: Mapping[str, Tensor],
) -> None:
    param, grad = (tensor[:, columns].unflatten(1, shape) for tensor in (step.flat, step.grad))
    ones = [1] * len(shape)
    shaped = {name: value.reshape(-1, *ones) for name, value in hyper.items()}
    delta, new = config.update(grad, param, dict(state), shaped, step.count)
    param.add_(delta if step.alive is None else torch.where(step.alive.reshape(-1, *ones), delta, 0.0))
    for name, value in new.items():
        state[name].copy_(value)


def fixed_part(group: RuleGroup) -> tuple[Any, ...]:
    """Everything about a group that must be equal in all runs: all on which its arithmetic depends, except numbers."""
    config = group.config
    numbers = set(group.hyper) | {"lr"}
    fields = {k: v for k, v in config.init_values().items() if k not in numbers and not _is_number_choice(config, k)}
    return type(config), group.label, group.names, group.decays, tuple(group.hyper), repr(fields)


def _is_number_choice(config: OptimizerConfig, field: str) -> bool:
    # An optional number, such as Adam's beta, sets hyperparameters with other names, if the class says so.
    gives = type(config).hyperparameters is not OptimizerConfig.hyperparameters
    return gives and (isinstance(getattr(config, field), float) or getattr(config, field) is None)


def _numbers(same: Sequence[RuleGroup], device: torch.device) -> dict[str, Tensor]:
    columns = {key: [[group.hyper[key]] for group in same] for key in same[0].hyper}
    return {key: torch.tensor(column, dtype=torch.float64, device=device) for key, column in columns.items()}
