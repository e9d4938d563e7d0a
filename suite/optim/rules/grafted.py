"""Grafting: the step's length from one rule, its direction from another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from suite.fields import ConfigError
from suite.optim.broadcast import Hyper, State, rounded
from suite.optim.config import OptimizerConfig, Scope
from suite.optim.parsing import describe, parse
from suite.optim.rules.nsgd import sum_of_squares
from suite.optim.statistic import StatisticConfig

_PARTS = ("magnitude", "direction")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grafted(StatisticConfig):
    r"""The length of one rule's step along the direction of another's (Agarwal et al. 2020; paper 2, section 3).

    .. math::
        \theta_t = \theta_{t-1} + \eta_t \frac{\lVert \Delta^M_t \rVert_2}{\lVert \Delta^D_t \rVert_2} \Delta^D_t

    with the steps of both rules at learning rate 1. Paper 2 writes M#D: SGD#Adam has ``magnitude: {name: sgd}`` and
    ``direction: {name: adam}``. Both rules get the same gradients, taken where the joint step leads, and each has its
    own state. The norms are over the whole network, or over each parameter. If the direction is zero, so is the step.

    The rule needs whole parameters: `build` refuses those that FSDP has sharded. Under DDP every process computes the
    same norms. The state holds the last step of both rules beside their states.

    Attributes:
        magnitude: plain values of the rule that sets the length, without ``lr``: ``{name: sgd, momentum: 0.9}``.
        direction: plain values of the rule that sets the direction, without ``lr``.
        per: whether the norms are over the network as one vector, or over each tensor.
    """

    magnitude: dict[str, Any]
    direction: dict[str, Any]
    per: Literal["network", "tensor"] = "network"

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in _PARTS:
            values = getattr(self, part)
            if "lr" in values:
                raise ConfigError(f"grafted has one learning rate, got {part}.lr too; set lr alone.")
            config = parse({**values, "lr": 1.0})
            if config.scope != "element" or type(config).rule is OptimizerConfig.rule or config.decay != "none":
                raise ConfigError(
                    f"grafted.{part} must be a rule of the catalogue that works on single coordinates, without weight "
                    f"decay, got {values.get('name')!r}."
                )
            if config.sampled_every:
                raise ConfigError(
                    f"grafted.{part} must be a rule that needs the gradient of the batch alone, got "
                    f"{values.get('name')!r}, which needs one on drawn labels too."
                )
            filled = {key: value for key, value in describe(config).items() if key not in _COMMON}
            object.__setattr__(self, part, filled)

    @property
    def scope(self) -> Scope:
        """All parameters, or each parameter alone; see ``per``."""
        return "global" if self.per == "network" else "tensor"

    @cached_property
    def parts(self) -> dict[str, OptimizerConfig]:
        """The rules of ``magnitude`` and ``direction``, at learning rate 1."""
        return {name: parse({**getattr(self, name), "lr": 1.0}) for name in _PARTS}

    def hyperparameters(self) -> dict[str, float]:
        """The learning rate, weight decay if there is any, and both rules' numbers: ``magnitude.momentum``, ..."""
        numbers = super().hyperparameters()
        for name in _PARTS:
            of_part = self.parts[name].hyperparameters()
            numbers |= {f"{name}.{key}": value for key, value in of_part.items() if key != "lr"}
        return numbers

    def init_state(self, param: Tensor) -> State:
        """The states of both rules and their last steps."""
        state = {f"{name}.{key}": value for name in _PARTS for key, value in self.parts[name].init_state(param).items()}
        return {**state, **{f"{name}_step": torch.zeros_like(param) for name in _PARTS}}

    def accumulate(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> State:
        """The new states and steps of both rules."""
        new: dict[str, Tensor] = {}
        for name in _PARTS:
            hyper_of_part = {**_of_part(hyper, name), "lr": 1.0}
            delta, moved = self.parts[name].rule(grad, param, _of_part(state, name), hyper_of_part, step)
            new |= {f"{name}.{key}": value for key, value in moved.items()}
            new[f"{name}_step"] = delta
        return new

    def sketch(self, state: State, *, offset: int, total: int) -> Tensor:
        """The sums of squares of both steps, ``[2]`` or ``[R, 2]``."""
        return torch.cat([sum_of_squares(state[f"{name}_step"]) for name in _PARTS], dim=-1)

    def statistic(self, sketches: Tensor, hyper: Hyper) -> Tensor:
        """The ratio of the norms, ``[1]`` or ``[R, 1]``; 0 if the direction is zero."""
        sums = sketches.unflatten(-1, (-1, 2)).sum(-2)
        magnitude, direction = sums[..., :1].sqrt(), sums[..., 1:].sqrt()
        return torch.where(direction > 0, magnitude / direction, torch.zeros_like(direction))

    def finish(self, state: State, statistic: Tensor, hyper: Hyper) -> Tensor:
        """The step along the scaled direction."""
        direction = state["direction_step"]
        return direction * rounded(hyper["lr"] * statistic, direction)


_COMMON = frozenset({"lr", "weight_decay", "decay", "undecayed"})


def _of_part(values: Mapping[str, Any], part: str) -> dict[str, Any]:
    return {key.removeprefix(f"{part}."): value for key, value in values.items() if key.startswith(f"{part}.")}
