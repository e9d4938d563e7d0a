"""Sophia's clipped step with the empirical Fisher for its Hessian estimate."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, State, average, elapsed, rounded
from suite.optim.config import AVERAGE, OptimizerConfig

_LEAST = 1e-15
"""Added to the denominator, as in the released code."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SophiaEF(OptimizerConfig):
    r"""Momentum over a diagonal curvature, clipped coordinate by coordinate (Liu et al. 2023, Sophia).

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        \theta_t = \theta_{t-1} - \eta_t \, \mathrm{sign}(m_t) \min\Big(\frac{|m_t|}{\rho h}, 1\Big)

    and after every ``every``-th step, from the first on, :math:`h \leftarrow \beta_2 h + (1 - \beta_2) g_t^2`.

    Sophia-G takes the gradient of the loss on labels that are drawn from the network's own predictions, times the batch
    size, for :math:`g_t` in h, which needs a second pass through network and loss. This rule takes the gradient of the
    batch: the empirical Fisher. It is not Sophia where the two differ, and is not called so. The batch size is part of
    ``rho`` here, which so has to be tuned at each.

    Attributes:
        beta1: decay of the gradient's average, 0 to below 1.
        beta2: decay of the curvature's average.
        rho: how large the curvature counts; the smaller, the more coordinates are clipped.
        every: steps between two estimates of the curvature.
    """

    beta1: float = dataclasses.field(default=0.965, metadata=AVERAGE)
    beta2: float = dataclasses.field(default=0.99, metadata=AVERAGE)
    rho: float = dataclasses.field(default=0.04, metadata={"above": 0})
    every: int = dataclasses.field(default=10, metadata={"at_least": 1})

    buffers = ("exp_avg", "curvature")

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        mean = average(state["exp_avg"], grad, hyper["beta1"])
        scale = state["curvature"] * rounded(hyper["rho"], grad) + _LEAST
        ratio = (mean.abs() / scale).clamp(max=1.0)
        estimated = average(state["curvature"], grad * grad, hyper["beta2"])
        is_due = (elapsed(step) - 1) % self.every == 0
        if isinstance(is_due, Tensor):
            estimated = torch.where(is_due, estimated, state["curvature"])
        elif not is_due:
            estimated = state["curvature"].clone()
        delta = mean.sign() * ratio * rounded(-hyper["lr"], mean)
        return delta, {"exp_avg": mean, "curvature": estimated}
