"""Sophia: momentum over a diagonal curvature, clipped coordinate by coordinate (Liu et al. 2023)."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from suite.optim.broadcast import Hyper, State, average, rounded
from suite.optim.config import AVERAGE, SAMPLED_GRADIENT, OptimizerConfig

_LEAST = 1e-15
"""Added to the denominator, as in the released code."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClippedByCurvature(OptimizerConfig):
    """The step that Sophia's rules share, over whichever estimate h of the curvature.

    Attributes:
        beta1: decay of the gradient's average, 0 to below 1.
        beta2: decay of the curvature's average.
        rho: how large the curvature counts; the smaller, the more coordinates are clipped. Its grid is one of decades.
        every: steps between two estimates of the curvature.
    """

    beta1: float = dataclasses.field(default=0.965, metadata=AVERAGE)
    beta2: float = dataclasses.field(default=0.99, metadata=AVERAGE)
    rho: float = dataclasses.field(default=0.04, metadata={"above": 0})
    every: int = dataclasses.field(default=10, metadata={"at_least": 1})

    buffers = ("exp_avg", "curvature")

    def clipped(self, mean: Tensor, curvature: Tensor, hyper: Hyper) -> Tensor:
        """The step ``-lr * sign(m) * min(|m| / (rho * h + 1e-15), 1)``, to be added to the parameter."""
        scale = curvature * rounded(hyper["rho"], mean) + _LEAST
        ratio = (mean.abs() / scale).clamp(max=1.0)
        return mean.sign() * ratio * rounded(-hyper["lr"], mean)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sophia(ClippedByCurvature):
    r"""Sophia-G: curvature by the Gauss-Newton-Bartlett estimate (Liu et al. 2023, algorithms 2 and 3).

    .. math::
        h_t = \beta_2 h_{t-k} + (1 - \beta_2) B \hat g_t^2 \text{ every } k \text{ steps}, \quad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        \theta_t = \theta_{t-1} - \eta_t \, \mathrm{sign}(m_t) \min\Big(\frac{|m_t|}{\rho h_t + 10^{-15}}, 1\Big)

    where :math:`\hat g_t` is the gradient of the mean loss over the batch's B predictions (tokens, images), with labels
    drawn from the network's own predictions: a second pass on every k-th step (``every``), from the first on. It is not
    clipped. B is that of the whole batch, so ``rho`` needs no other value at another batch size for B's sake.

    As in the paper a step uses the estimate that was made at its weights. The released code makes it after every k-th
    step, on further batches and with the gradient clipped, and multiplies ``rho`` by B in the step, which is the same
    where B does not change.
    """

    @property
    def sampled_every(self) -> int:
        """The steps between two estimates, ``every``."""
        return self.every

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        sampled = state.get(SAMPLED_GRADIENT)
        if sampled is None:
            # A traced step, whose number is a tensor, is one that needs none; who traces it sees to that.
            if isinstance(step, int) and self.needs_sampled_gradient(step):
                self.require_sampled_gradient(step)
            curvature = state["curvature"].clone()
        else:
            curvature = average(state["curvature"], sampled * sampled, hyper["beta2"])
        mean = average(state["exp_avg"], grad, hyper["beta1"])
        return self.clipped(mean, curvature, hyper), {"exp_avg": mean, "curvature": curvature}
