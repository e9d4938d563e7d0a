"""Base class of the optimizer configs: hyperparameters with types and ranges, a pure update rule, weight decay."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from suite.fields import ConfigError, check_ranges, plain, read, require

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from suite.optim.broadcast import Hyper, Number, State

Decay = Literal["none", "coupled", "decoupled", "independent"]
Role = Literal["norm", "embed", "head", "bias", "hidden"]
Scope = Literal["element", "tensor", "matrix", "global"]

NOT_NEGATIVE = {"at_least": 0}
AVERAGE = {"at_least": 0, "below": 1}
"""Range of a decay such as a momentum or a beta."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    r"""Description of an update rule; `suite.optim.build` makes the optimizer.

    A subclass is a frozen keyword-only dataclass with `rule`, one pure function. Its ``float`` fields are the
    hyperparameters: they reach the rule through ``hyper`` as floats, or as tensors that broadcast over a leading run
    dimension. All other fields are fixed choices, read from ``self`` and equal in runs trained at once.

    Weight decay :math:`\lambda` is a policy that every rule has:

    ``coupled``
        L2: the rule sees :math:`g + \lambda \theta`.
    ``decoupled``
        :math:`\theta` also moves by :math:`-\eta_t \lambda \theta` (Loshchilov & Hutter 2019).
    ``independent``
        after the step :math:`\theta` is multiplied by :math:`1 - \lambda \eta_t / \eta_{peak}`, whatever the peak
        (paper 1, appendix B.1).

    Attributes:
        lr: peak learning rate; it has no default.
        weight_decay: strength of the weight decay, at least 0; above 0 it needs a policy in ``decay``.
        decay: how weight decay enters: none, coupled, decoupled or independent.
        undecayed: roles whose parameters do not decay, such as ``[norm, bias, embed]``; by default all decay.
    """

    lr: float = dataclasses.field(metadata=NOT_NEGATIVE)
    weight_decay: float = dataclasses.field(default=0.0, metadata=NOT_NEGATIVE)
    decay: Decay = "none"
    undecayed: tuple[Role, ...] = ()

    buffers: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors that the rule keeps from step to step, see `init_state`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update" in cls.__dict__:
            raise TypeError(f"{cls.__name__} must define rule; update adds the weight decay around it.")

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self), name="")
        if self.weight_decay > 0 and self.decay == "none":
            raise ConfigError(
                f"weight_decay {self.weight_decay:g} needs a policy, got decay 'none'; set decay to coupled, "
                "decoupled or independent."
            )
        if self.decay == "independent":
            require(self.weight_decay < 1, "weight_decay", "below 1 for independent decay", self.weight_decay)

    @property
    def scope(self) -> Scope:
        """What the rule may look at, and the shapes it is given.

        ``element``: one coordinate at a time, any shape. ``tensor``: one parameter as a vector ``[P]``. ``matrix``:
        one parameter as ``[rows, columns]``, later dimensions joined. ``global``: all parameters as one vector
        ``[P]``. With R runs at once a run dimension comes first; rules reduce over the last dimensions.
        Wider scopes than ``element`` refuse parameters sharded by FSDP, whose other parts they cannot see.
        """
        return "element"

    def init_state(self, param: Tensor) -> State:
        """State before the first step: tensors shaped like ``param``; by default zeros under ``buffers``."""
        import torch

        return {name: torch.zeros_like(param) for name in self.buffers}

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step of the rule without weight decay and without side effects; see `update`."""
        raise NotImplementedError(f"{type(self).__name__} defines no update rule")

    def update(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step, weight decay included, without side effects.

        Args:
            grad: gradient, shaped as `scope` says; for R runs at once with R in front.
            param: parameter, shaped like ``grad``.
            state: the state that `init_state` or the last step returned, shaped like ``grad``.
            hyper: `hyperparameters` by name (``lr`` already scheduled); floats, or tensors, best in
                float64, that broadcast over ``grad``.
            step: 1 for the first step.

        Returns:
            The step, which is *added* to the parameter and shaped like it, and the new state, in new tensors.
        """
        delta, new = self.rule(decay_gradient(self.decay, grad, param, hyper), param, state, hyper, step)
        return decay_delta(self.decay, delta, param, hyper), new

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | None:
        """Torch's own implementation with the same numbers, for single runs; None where there is none."""
        return None

    def assign(
        self, parameters: Mapping[str, Tensor], roles: Callable[[], Mapping[str, str]]
    ) -> list[tuple[str, OptimizerConfig, list[str]]]:
        """Which rule moves which parameters.

        Args:
            parameters: the trainable parameters by name.
            roles: gives the role of each; raises `ConfigError` where the network is not known.

        Returns:
            ``(label, config, names)`` per rule; by default this one for all.
        """
        return [("", self, list(parameters))]

    def hyperparameters(self) -> dict[str, float]:
        """The numbers that reach `update` through ``hyper``, and may differ between runs trained at once."""
        hints = typing.get_type_hints(type(self))
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if hints[f.name] is float}
        if self.decay == "none":
            del numbers["weight_decay"]
        if self.decay == "independent":
            numbers["peak_lr"] = self.lr
        return numbers

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, name: str) -> Self:
        """Make the config from plain values; ``name`` is what messages call it.

        Raises:
            ConfigError: a field is unknown, missing, or of the wrong type.
        """
        return read(cls, values, name=name)

    def init_values(self) -> dict[str, Any]:
        """Every field as a plain value: what the class takes."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.init}

    def plain_values(self) -> dict[str, Any]:
        """Every setting as people write it in YAML beside ``name``; `from_values` reads it back."""
        return self.init_values()


def decay_gradient(policy: Decay, grad: Tensor, param: Tensor, hyper: Hyper) -> Tensor:
    """The gradient that the rule sees: with ``coupled`` decay ``grad + weight_decay * param``."""
    if policy != "coupled" or _is_zero(hyper["weight_decay"]):
        return grad
    return grad + _rounded(hyper["weight_decay"], param) * param


def decay_delta(policy: Decay, delta: Tensor, param: Tensor, hyper: Hyper) -> Tensor:
    """The rule's step with decoupled or independent decay added.

    Args:
        policy: ``none`` and ``coupled`` change nothing here.
        delta: what the rule adds to ``param``.
        param: the parameter before the step.
        hyper: ``lr`` (scheduled), ``weight_decay`` and, for independent decay, ``peak_lr``.
    """
    if policy in ("none", "coupled") or _is_zero(hyper["weight_decay"]):
        return delta
    if policy == "decoupled":
        return delta - _rounded(hyper["lr"] * hyper["weight_decay"], param) * param
    share = hyper["weight_decay"] * _share_of_peak(hyper["lr"], hyper["peak_lr"])
    return delta - _rounded(share, param) * (param + delta)


def _is_zero(weight_decay: Number) -> bool:
    return isinstance(weight_decay, int | float) and weight_decay == 0


def _rounded(number: Number, like: Tensor) -> Number:
    return number if isinstance(number, int | float) else number.to(like.dtype)


def _share_of_peak(lr: Number, peak: Number) -> Number:
    # A peak of 0 moves nothing, so it decays nothing either.
    if isinstance(peak, int | float):
        return lr / peak if peak > 0 else 0.0
    return lr / peak.clamp(min=1e-38)
