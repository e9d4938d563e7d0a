"""A `torch.optim.Optimizer` around a pure update rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from suite.fields import ConfigError, require
from suite.optim.config import SAMPLED_GRADIENT, OptimizerConfig
from suite.optim.kernels import Kernels, pays_off
from suite.optim.pieces import WHOLE, Piece, joined, pieces_of
from suite.optim.statistic import StatisticConfig

_Batch = tuple[dict[str, Any], int, list[Tensor]]


class RuleOptimizer(torch.optim.Optimizer):
    """Applies the `update` of a config to the parameters of one run.

    An elementwise rule is applied to pieces: small parameters are joined and large ones cut, which limits the number of
    launches and the memory traffic of temporaries; under FSDP each process updates its own shard. A rule with a
    statistic makes two passes over the pieces. Any other rule gets whole parameters, or all of them as one vector.

    Args:
        groups: parameter groups. Numbers in a group override the config's hyperparameters; `report` uses its ``names``.
        config: the update rule.
        compiled: fuse the rule's arithmetic with torch.compile, which takes some seconds once per rule; None: for
            large networks, if a compiler is installed. The results are equal up to rounding.
    """

    _statistics: Sequence[tuple[list[Tensor], Tensor]] = ()
    """For a rule with a statistic, from its last step: parameters, and the statistic over them, ``[1]``."""

    def __init__(self, groups: list[dict[str, Any]], config: OptimizerConfig, *, compiled: bool | None = None) -> None:
        self.config = config
        self._hyper = tuple(config.hyperparameters())
        super().__init__(groups, config.hyperparameters())
        parameters = [p for group in self.param_groups for p in group["params"]]
        self._kernels = Kernels(config, compiled=pays_off(parameters) if compiled is None else compiled)

    def __getstate__(self) -> dict[str, Any]:
        """The content of copies and pickles: the state of a torch optimizer, and the rule."""
        rule = {"config": self.config, "_hyper": self._hyper, "_kernels": self._kernels}
        return {**super().__getstate__(), **rule}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step; parameters without a gradient do not change, sparse gradients raise `ConfigError`."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        if self.config.sampled_every:
            self._require_sampled_gradients()
        batches = list(self._batches())
        if isinstance(self.config, StatisticConfig):
            self._statistic_steps(self.config, batches)
        elif self.config.scope == "element":
            for hyper, step, params in batches:
                for piece in pieces_of(params, self._states(params), longest=self._kernels.longest):
                    self._kernels.move(piece, hyper, step)
        elif self.config.scope == "global":
            self._move_all(batches)
        else:
            for hyper, step, params in batches:
                for param in params:
                    self._move_whole(param, hyper, step)
        if self.config.sampled_every:
            for param in self._parameters():
                self.state[param].pop(SAMPLED_GRADIENT, None)
        return loss

    def needs_sampled_gradient(self) -> bool:
        """Whether the next step needs the gradient on drawn labels, see `keep_sampled_gradient`."""
        return self.config.sampled_every > 0 and any(map(self._is_due, self._parameters()))

    @torch.no_grad()
    def keep_sampled_gradient(self, *, terms: int) -> None:
        """Keep the gradients that the parameters hold as the sampled gradient of the next step, and clear them.

        They are to be of the mean loss on labels that were drawn from the network's own predictions, as
        `suite.optim.draw_labels` does, and neither clipped nor scaled; a parameter without one counts as zero.

        Args:
            terms: number of terms of that mean: all predictions in the batch, over all devices and accumulation.

        Raises:
            ConfigError: the next step needs none; there is no term; or no parameter has a gradient.
        """
        require(terms >= 1, "terms", "at least 1", terms)
        if not self.needs_sampled_gradient():
            raise ConfigError(
                f"{type(self.config).__name__} needs no gradient on drawn labels for its next step, got one; call "
                "keep_sampled_gradient where needs_sampled_gradient() is true."
            )
        if all(param.grad is None for param in self._parameters()):
            raise ConfigError("keep_sampled_gradient keeps the parameters' gradients, got none; call backward() first.")
        for param in self._parameters():
            grad, param.grad = param.grad, None
            if self._is_due(param):
                sampled = torch.zeros_like(param) if grad is None else grad * math.sqrt(terms)
                self._state_of(param)[SAMPLED_GRADIENT] = sampled

    @torch.no_grad()
    def report(self) -> dict[str, dict[str, Tensor]]:
        """Measurements of the rule's last step by quantity and parameter name, ``[1]`` each; empty for most rules.

        `SGDQuantileClip` reports ``clipped_share``, the share of the parameter's coordinates that it clipped.
        """
        if not isinstance(self.config, StatisticConfig):
            return {}
        names = dict(pair for group in self.param_groups for pair in _named(group))
        report: dict[str, dict[str, Tensor]] = {}
        for params, statistic in self._statistics:
            for param, state in zip(params, self._states(params), strict=True):
                flat = {name: value.reshape(-1) for name, value in state.items()}
                for quantity, value in self.config.observe(flat, statistic).items():
                    report.setdefault(quantity, {})[names[param]] = value
        return report

    def _batches(self) -> Iterator[_Batch]:
        """Group the parameters that have gradients by hyperparameters and step number; counts the step."""
        for group in self.param_groups:
            by_step: dict[int, list[Tensor]] = {}
            for param in group["params"]:
                if param.grad is None or param.numel() == 0:
                    continue
                if param.grad.is_sparse:
                    raise ConfigError(
                        f"{type(self.config).__name__} needs dense gradients, got a sparse one; set sparse=False in "
                        "the network's embeddings."
                    )
                state = self._state_of(param)
                state["step"] += 1
                by_step.setdefault(state["step"], []).append(param)
            hyper = {name: group[name] for name in self._hyper}
            yield from ((hyper, step, params) for step, params in by_step.items())

    def _parameters(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def _state_of(self, param: Tensor) -> dict[str, Any]:
        """The state of a parameter, which starts when it is first asked for."""
        state = self.state[param]
        if not state:
            state.update(step=0, **self.config.init_state(param.detach()))
        return state

    def _is_due(self, param: Tensor) -> bool:
        return self.config.needs_sampled_gradient(self._steps_of(param) + 1)

    def _steps_of(self, param: Tensor) -> int:
        return int(self.state[param].get("step", 0)) if param in self.state else 0

    def _require_sampled_gradients(self) -> None:
        """Refuse a step, before anything has changed, that needs a sampled gradient and has none."""
        for param in self._parameters():
            moves = param.grad is not None and param.numel() > 0
            if moves and self._is_due(param) and SAMPLED_GRADIENT not in self._state_of(param):
                self.config.require_sampled_gradient(self._steps_of(param) + 1)

    def _states(self, params: list[Tensor]) -> list[dict[str, Tensor]]:
        return [{name: value for name, value in self.state[p].items() if name != "step"} for p in params]

    def _move_all(self, batches: list[_Batch]) -> None:
        """Move all parameters with the same step number as one vector; numbers that differ by group become vectors."""
        for step in sorted({step for _, step, _ in batches}):
            pieces: list[Piece] = []
            sizes, hypers = [], []
            for hyper, at_step, params in batches:
                if at_step == step:
                    pieces += pieces_of(params, self._states(params), longest=WHOLE)
                    sizes.append(sum(p.numel() for p in params))
                    hypers.append(hyper)
            whole = joined(pieces)
            device = whole.params[0].device
            by_coordinate = {
                name: torch.cat(
                    [torch.full((n,), float(h[name]), device=device) for n, h in zip(sizes, hypers, strict=True)]
                )
                for name in self._hyper
                if any(h[name] != hypers[0][name] for h in hypers)
            }
            Kernels(self.config, compiled=False).move(whole, {**hypers[0], **by_coordinate}, step)

    def _move_whole(self, param: Tensor, hyper: dict[str, Any], step: int) -> None:
        assert param.grad is not None
        shape: tuple[int, ...] = (-1,) if self.config.scope == "tensor" else (len(param), -1)
        if self.config.scope == "matrix" and param.ndim < 2:
            raise ConfigError(
                f"{type(self.config).__name__} moves matrices, got a parameter of shape {tuple(param.shape)}."
            )
        (state,) = self._states([param])
        old = {name: value.reshape(shape) for name, value in state.items()}
        delta, new = self.config.update(param.grad.reshape(shape), param.reshape(shape), old, hyper, step)
        param.add_(delta.reshape(param.shape))
        for name, value in new.items():
            state[name].copy_(value.reshape(param.shape))

    def _statistic_steps(self, config: StatisticConfig, batches: list[_Batch]) -> None:
        alone = [[(hyper, step, [param])] for hyper, step, params in batches for param in params]
        together = [batches] if batches else []
        self._statistics = [self._statistic_step(config, b) for b in (together if config.scope == "global" else alone)]

    def _statistic_step(self, config: StatisticConfig, batches: list[_Batch]) -> tuple[list[Tensor], Tensor]:
        """Take a step with one statistic over all parameters in ``batches``; returns both."""
        moved = [param for _, _, params in batches for param in params]
        total = sum(param.numel() for param in moved)
        pieces, sketches, offset = [], [], 0
        for hyper, step, params in batches:
            for piece in pieces_of(params, self._states(params), longest=self._kernels.longest, in_order=True):
                new = self._kernels.accumulate(config, piece, hyper, step)
                pieces.append((hyper, piece))
                sketches.append(config.sketch(new, offset=offset, total=total))
                offset += sum(p.numel() for p in piece.params)
        statistic = config.statistic(torch.cat(sketches), batches[0][0])
        for hyper, piece in pieces:
            self._kernels.finish(config, piece, statistic, hyper)
        return moved, statistic


def _named(group: dict[str, Any]) -> Iterator[tuple[Tensor, str]]:
    names = group.get("names") or [str(i) for i in range(len(group["params"]))]
    return zip(group["params"], names, strict=True)
