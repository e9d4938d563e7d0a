"""Weight decay as a named policy, around any update rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from suite.optim.broadcast import Number

Decay = Literal["none", "coupled", "decoupled", "independent"]


def decay_gradient(policy: Decay, grad: Tensor, param: Tensor, hyper: Mapping[str, Number]) -> Tensor:
    """The gradient that the rule sees: with ``coupled`` decay ``grad + weight_decay * param``."""
    if policy != "coupled" or _is_zero(hyper["weight_decay"]):
        return grad
    return grad + _rounded(hyper["weight_decay"], param) * param


def decay_delta(policy: Decay, delta: Tensor, param: Tensor, hyper: Mapping[str, Number]) -> Tensor:
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
