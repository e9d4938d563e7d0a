"""AdaVar: Adam written with a mean and a variance."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, State, rounded
from suite.optim.config import AVERAGE, NOT_NEGATIVE, OptimizerConfig
from suite.optim.fused_adam import fused_adam


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaVar(OptimizerConfig):
    r"""Step along the mean over the root of squared mean plus variance (paper 3, section 4).

    .. math::
        m_t &= \beta m_{t-1} + (1 - \beta) g_t \\
        s_t &= \tau s_{t-1} + (1 - \tau) (m_{t-1} - g_t)^2 \\
        \theta_t &= \theta_{t-1} - \eta_t \frac{m_t}{\sqrt{m_t^2 + \gamma s_t} + \epsilon}

    from :math:`m_0 = s_0 = 0`. With :math:`\beta = \gamma = \tau` and :math:`\epsilon = 0` this is exactly Adam with
    tied betas and no bias correction, because :math:`v_t - m_t^2 = \beta s_t`: by induction

    .. math::
        v_t - m_t^2 = \beta (v_{t-1} - m_{t-1}^2) + \beta (1 - \beta) (m_{t-1} - g_t)^2 .

    Attributes:
        beta: decay of the mean, 0 to below 1.
        gamma: weight of the variance, at least 0; by default ``beta``.
        tau: decay of the variance, 0 to below 1; by default ``beta``.
        eps: constant added to the root.
    """

    beta: float = dataclasses.field(default=0.95, metadata=AVERAGE)
    gamma: float | None = dataclasses.field(default=None, metadata=NOT_NEGATIVE)
    tau: float | None = dataclasses.field(default=None, metadata=AVERAGE)
    eps: float = dataclasses.field(default=1e-8, metadata=NOT_NEGATIVE)

    buffers = ("exp_avg", "exp_var")

    def hyperparameters(self) -> dict[str, float]:
        """The learning rate, beta, gamma, tau, eps, and weight decay if there is any."""
        gamma = self.beta if self.gamma is None else self.gamma
        tau = self.beta if self.tau is None else self.tau
        return {**super().hyperparameters(), "gamma": gamma, "tau": tau}

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        surprise = torch.sub(state["exp_avg"], grad)
        beta, tau = hyper["beta"], hyper["tau"]
        mean = torch.sub(state["exp_avg"], surprise * rounded(1 - beta, surprise))
        variance = torch.mul(state["exp_var"], rounded(tau, surprise))
        variance.add_(surprise.square_().mul_(rounded(1 - tau, surprise)))
        root = torch.mul(variance, rounded(hyper["gamma"], variance)).addcmul_(mean, mean).sqrt_()
        delta = torch.div(mean, root.add_(rounded(hyper["eps"], root))).mul_(rounded(-hyper["lr"], mean))
        return delta, {"exp_avg": mean, "exp_var": variance}

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | None:
        """If gamma and tau equal beta, the fused Adam without bias correction, which is then the same; else None."""
        if {self.gamma, self.tau} - {None, self.beta}:
            return None
        return fused_adam(self, groups, (self.beta, self.beta), self.eps, bias_correction=False)
