"""SGD whose step is clipped coordinate by coordinate, after momentum."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, Number, State, rounded
from suite.optim.config import AVERAGE, NOT_NEGATIVE, OptimizerConfig
from suite.optim.rules.sgd import accumulated
from suite.optim.statistic import StatisticConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGDCoordinateClip(OptimizerConfig):
    r"""SGD with momentum whose coordinates are clipped after the averaging (paper 3, section 3, "SGD + Cclip").

    .. math::
        \theta_t = \theta_{t-1} - \eta_t \, \mathrm{clip}(m_t, -c, c)

    with the momentum :math:`m_t` of `SGD`; the buffer keeps the unclipped momentum.

    Attributes:
        momentum: decay of the momentum, 0 to below 1.
        damped: weigh the newest gradient by ``1 - momentum``, as paper 3 does throughout.
        max_coordinate: the largest magnitude c of a coordinate of the momentum, above 0.
    """

    momentum: float = dataclasses.field(default=0.0, metadata=AVERAGE)
    damped: bool = True
    max_coordinate: float = dataclasses.field(default=1.0, metadata={"above": 0})

    buffers = ("momentum_buffer",)

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        buffer = accumulated(state["momentum_buffer"], grad, hyper["momentum"], damped=self.damped, step=step)
        step_size = rounded(-hyper["lr"], buffer)
        return clamped(buffer, rounded(hyper["max_coordinate"], buffer)).mul_(step_size), {"momentum_buffer": buffer}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGDQuantileClip(StatisticConfig):
    r"""SGD with momentum whose largest coordinates are clipped at a quantile, anew in each step (paper 2, Algorithm 1).

    .. math::
        \tau_t = Q_{1-p}(\lvert m_t \rvert), \quad
        \theta_t = \theta_{t-1} - \eta_t \, \mathrm{clip}(m_t, -\tau_t, \tau_t)

    where the quantile is over all coordinates of the network: the :math:`\lceil (1 - p) n \rceil`-th smallest. The
    buffer keeps the unclipped momentum of `SGD`.

    Above ``exact_below`` coordinates, the quantile is estimated from about a million of them, evenly spaced at a prime
    stride, which does not divide a row's length. The clipped share then has a standard error of
    :math:`\sqrt{p (1 - p) / 10^6}`: 0.0003 at p = 0.1.

    The rule needs whole parameters: `build` refuses those that FSDP has sharded. Under DDP every process computes the
    same quantile. `RuleOptimizer.report` returns the clipped share of every parameter.

    Attributes:
        momentum: decay of the momentum, 0 to below 1.
        damped: weigh the newest gradient by ``1 - momentum``; paper 2's pseudo-code does not.
        share: share p of the coordinates that are clipped, above 0 and below 1 (paper 2: 0.05, 0.1, 0.2; best 0.1).
        exact_below: number of coordinates up to which the quantile is exact.
    """

    momentum: float = dataclasses.field(default=0.0, metadata=AVERAGE)
    damped: bool = False
    share: float = dataclasses.field(default=0.1, metadata={"above": 0, "below": 1})
    exact_below: int = dataclasses.field(default=10_000_000, metadata=NOT_NEGATIVE)

    buffers = ("momentum_buffer",)

    def accumulate(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> State:
        """The new momentum."""
        buffer = accumulated(state["momentum_buffer"], grad, hyper["momentum"], damped=self.damped, step=step)
        return {"momentum_buffer": buffer}

    def sketch(self, state: State, *, offset: int, total: int) -> Tensor:
        """Magnitudes of the momentum, at all coordinates or at evenly spaced ones."""
        stride = 1 if total <= self.exact_below else prime_up_to(total // SAMPLES)
        return state["momentum_buffer"][..., -offset % stride :: stride].abs()

    def statistic(self, sketches: Tensor, hyper: Hyper) -> Tensor:
        """The quantile of the magnitudes, ``[1]`` or ``[R, 1]``."""
        share, count = hyper["share"], sketches.shape[-1]
        if isinstance(share, Tensor):
            # Subtracting 1e-6 makes the ceiling of (1 - 0.1) * 10 equal 9 in spite of rounding errors.
            ranks = ((1 - share.double()) * count).sub_(1e-6).ceil().clamp_(1, count).long() - 1
            return sketches.sort(-1).values.gather(-1, ranks.expand(*sketches.shape[:-1], 1))
        rank = min(max(math.ceil((1 - share) * count - 1e-6), 1), count)
        return sketches.kthvalue(rank, dim=-1, keepdim=True).values

    def finish(self, state: State, statistic: Tensor, hyper: Hyper) -> Tensor:
        """The step along the clipped momentum."""
        momentum = state["momentum_buffer"]
        return clamped(momentum, statistic).mul_(rounded(-hyper["lr"], momentum))

    def observe(self, state: State, statistic: Tensor) -> State:
        """``clipped_share``: the share of the coordinates whose magnitude exceeds the quantile."""
        return {"clipped_share": (state["momentum_buffer"].abs() > statistic).float().mean(-1, keepdim=True)}


SAMPLES = 1_000_000
"""Smallest number of coordinates in a sampled quantile."""


def clamped(values: Tensor, largest: Number) -> Tensor:
    """``values`` clipped to magnitude ``largest``, in a new tensor."""
    return torch.clamp(values, -largest, largest)  # type: ignore[arg-type]


def prime_up_to(number: int) -> int:
    """The largest prime up to ``number``, at least 2."""
    return next((n for n in range(number, 1, -1) if all(n % d for d in range(2, math.isqrt(n) + 1))), 2)
