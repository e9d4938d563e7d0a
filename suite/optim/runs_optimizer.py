"""R runs at once: one optimizer over a flat buffer ``[R, P]`` whose hyperparameters differ from run to run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suite.optim.config import ConfigError, OptimizerConfig
from suite.optim.factory import RuleGroup, rule_groups

ELEMENTS_AT_A_TIME = 1 << 18
"""Elements that an elementwise rule works on at a time on a CPU, so that its temporaries stay in a cache."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each parameter of a network lies in a run's row of the buffer.

    Attributes:
        shapes: parameter name -> shape, in order.
    """

    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, network: nn.Module, order: Sequence[str]) -> Layout:
        """The layout of a network's trainable parameters in a given order."""
        shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if p.requires_grad}
        return cls({name: shapes[name] for name in order})

    @property
    def size(self) -> int:
        """Elements per run, P."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def spans(self) -> dict[str, tuple[int, int]]:
        """Parameter name -> first column and the one after its last."""
        spans, start = {}, 0
        for name, shape in self.shapes.items():
            spans[name] = (start, start + math.prod(shape))
            start += math.prod(shape)
        return spans

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """A buffer ``[R, P]`` as one tensor ``[R, *shape]`` per parameter, sharing its memory."""
        spans = self.spans()
        return {name: flat[:, slice(*spans[name])].view(len(flat), *shape) for name, shape in self.shapes.items()}


def shared_groups(configs: Sequence[OptimizerConfig], network: nn.Module) -> list[list[RuleGroup]]:
    """The rule groups of R configs over one network: an outer list over groups, an inner one over runs.

    Raises:
        ConfigError: the configs differ in more than float fields, or a rule cannot move several runs at once.
    """
    by_run = [rule_groups(config, network) for config in configs]
    groups = [list(same) for same in zip(*by_run, strict=True)] if len({len(g) for g in by_run}) == 1 else []
    if not groups:
        raise ConfigError("Runs trained at once must share the groups of their parameters.")
    for same in groups:
        first = same[0]
        if type(first.config).rule is OptimizerConfig.rule:
            raise ConfigError(f"{type(first.config).__name__} is another library's and trains one run at a time.")
        if any(_fixed(g) != _fixed(first) for g in same):
            raise ConfigError("Runs trained at once must have optimizers that differ in numbers alone.")
    if len(groups) > 1 and any(same[0].config.scope == "global" for same in groups):
        raise ConfigError("A rule over all parameters cannot be split over groups where runs are trained at once.")
    return groups


class RunsOptimizer(torch.optim.Optimizer):
    """Moves R runs, each with its own hyperparameters, by the same pure rules as `build` gives single runs.

    Args:
        flat: the parameters of all runs, ``[R, P]``; its columns are ordered as ``layout``.
        layout: where each parameter lies; the parameters of a group are neighbours.
        groups: see `shared_groups`.

    Attributes:
        multiplier: of every run's learning rate, set by the schedule.
        alive: bool ``[R, 1]``; dead runs are not moved.
    """

    def __init__(self, flat: nn.Parameter, layout: Layout, groups: Sequence[Sequence[RuleGroup]]) -> None:
        super().__init__([flat], {"lr": 1.0})
        self.param_groups[0]["initial_lr"] = 1.0
        self.layout = layout
        self.alive = torch.ones(len(flat), 1, dtype=torch.bool, device=flat.device)
        self.multiplier = 1.0
        self._flat = flat
        self._groups = [(same[0].config, list(same[0].names), _numbers(same)) for same in groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Move every living run by its rule; the gradient is ``flat.grad``, ``[R, P]``."""
        loss = None if closure is None else closure()
        state = self.state[self._flat]
        state["step"] = state.get("step", 0) + 1
        for number, (config, names, numbers) in enumerate(self._groups):
            hyper = {key: value.to(self._flat.device) for key, value in numbers.items()}
            hyper["lr"] = hyper["lr"] * self.multiplier
            for columns, shape in self._parts(config, names):
                self._move(config, f"{number}/{columns.start}", columns, shape, hyper, state)
        return loss

    def _parts(self, config: OptimizerConfig, names: list[str]) -> list[tuple[slice, tuple[int, ...]]]:
        """Columns that a rule sees at once, with the shape that it sees them in."""
        spans = self.layout.spans()
        first, last = spans[names[0]][0], spans[names[-1]][1]
        if config.scope == "global":
            return [(slice(first, last), (-1,))]
        if config.scope == "element":
            wide = last - first if self._flat.is_cuda else max(1024, ELEMENTS_AT_A_TIME // len(self._flat))
            return [(slice(c, min(c + wide, last)), (-1,)) for c in range(first, last, wide)]
        rows = {name: (self.layout.shapes[name][0], -1) if config.scope == "matrix" else (-1,) for name in names}
        return [(slice(*spans[name]), rows[name]) for name in names]

    def _move(
        self,
        config: OptimizerConfig,
        key: str,
        columns: slice,
        shape: tuple[int, ...],
        hyper: Mapping[str, Tensor],
        state: dict[str, Any],
    ) -> None:
        assert self._flat.grad is not None
        runs = len(self._flat)
        param = self._flat.data[:, columns].unflatten(1, shape)
        grad = self._flat.grad[:, columns].unflatten(1, shape)
        if key not in state:
            state[key] = config.init_state(param)
        shaped = {name: value.reshape(runs, *[1] * len(shape)) for name, value in hyper.items()}
        delta, new = config.update(grad, param, state[key], shaped, state["step"])
        alive = self.alive.reshape(runs, *[1] * len(shape))
        param.add_(torch.where(alive, delta, 0.0))
        state[key] = new


def _fixed(group: RuleGroup) -> tuple[Any, ...]:
    """Everything about a group that must be the same in all runs."""
    config = group.config
    numbers = set(group.hyper) | {"lr"}
    fields = {k: v for k, v in config.init_values().items() if k not in numbers and not _is_number_choice(config, k)}
    return type(config), group.label, group.names, group.decays, tuple(group.hyper), repr(fields)


def _is_number_choice(config: OptimizerConfig, field: str) -> bool:
    # Optional numbers, such as Adam's beta, stand behind hyperparameters of other names.
    return isinstance(getattr(config, field), float) or getattr(config, field) is None


def _numbers(same: Sequence[RuleGroup]) -> dict[str, Tensor]:
    return {key: torch.tensor([[group.hyper[key]] for group in same], dtype=torch.float64) for key in same[0].hyper}
