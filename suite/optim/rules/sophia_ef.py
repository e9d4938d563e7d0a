"""Sophia's clipped step with the empirical Fisher for its Hessian estimate."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, State, average, elapsed
from suite.optim.rules.sophia import ClippedByCurvature


@dataclasses.dataclass(frozen=True, kw_only=True)
class SophiaEF(ClippedByCurvature):
    r"""Momentum over a diagonal curvature, clipped coordinate by coordinate (after Liu et al. 2023, Sophia).

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        \theta_t = \theta_{t-1} - \eta_t \, \mathrm{sign}(m_t) \min\Big(\frac{|m_t|}{\rho h + 10^{-15}}, 1\Big)

    and after every ``every``-th step, from the first on, :math:`h \leftarrow \beta_2 h + (1 - \beta_2) g_t^2`.

    Sophia itself, `suite.optim.Sophia`, takes the gradient of the loss on labels that are drawn from the network's own
    predictions, times the root of the number of predictions, for :math:`g_t` in h, which needs a second pass through
    network and loss, and a network that predicts classes. This rule takes the gradient of the batch: the empirical
    Fisher, for any loss. It is not Sophia where the two differ, and is not called so. The batch size is part of ``rho``
    here, which so has to be tuned at each.
    """

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        mean = average(state["exp_avg"], grad, hyper["beta1"])
        delta = self.clipped(mean, state["curvature"], hyper)
        estimated = average(state["curvature"], grad * grad, hyper["beta2"])
        is_due = (elapsed(step) - 1) % self.every == 0
        if isinstance(is_due, Tensor):
            estimated = torch.where(is_due, estimated, state["curvature"])
        elif not is_due:
            estimated = state["curvature"].clone()
        return delta, {"exp_avg": mean, "curvature": estimated}
