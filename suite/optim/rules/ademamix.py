"""AdEMAMix: Adam with a second, slow average of the gradients."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, Number, State, average, elapsed, rounded
from suite.optim.config import AVERAGE, NOT_NEGATIVE, OptimizerConfig

_LEAST = 1e-8
"""Added to a beta whose half-life is computed, as in the released code."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdEMAMix(OptimizerConfig):
    r"""Adam whose numerator is a mix of a fast and a slow average (Pagliardini, Ablin & Grangier 2024).

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad s_t = \beta_3 s_{t-1} + (1 - \beta_3) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \theta_t = \theta_{t-1}
        - \eta_t \frac{m_t / (1 - \beta_1^t) + \alpha s_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    The slow average starts at zero and is not corrected. Over ``warmup_steps`` :math:`\alpha` grows linearly from zero,
    and the half-life of :math:`\beta_3` linearly from that of :math:`\beta_1`; the paper takes as many as the training
    has.

    Attributes:
        beta1: decay of the fast average, 0 to below 1.
        beta2: decay of the squared gradient's average.
        beta3: decay of the slow average.
        alpha: weight of the slow average.
        eps: constant added to the root of the second moment, after the bias correction.
        warmup_steps: steps over which alpha and beta3 reach their values; 0: they have them from the start.
    """

    beta1: float = dataclasses.field(default=0.9, metadata=AVERAGE)
    beta2: float = dataclasses.field(default=0.999, metadata=AVERAGE)
    beta3: float = dataclasses.field(default=0.9999, metadata=AVERAGE)
    alpha: float = dataclasses.field(default=2.0, metadata=NOT_NEGATIVE)
    eps: float = dataclasses.field(default=1e-8, metadata=NOT_NEGATIVE)
    warmup_steps: int = dataclasses.field(default=0, metadata=NOT_NEGATIVE)

    buffers = ("exp_avg", "exp_avg_slow", "exp_avg_sq")

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        beta1, beta2 = hyper["beta1"], hyper["beta2"]
        alpha, beta3 = self._warmed(hyper, step)
        fast = average(state["exp_avg"], grad, beta1)
        slow = average(state["exp_avg_slow"], grad, beta3)
        square = average(state["exp_avg_sq"], grad * grad, beta2)
        root = square.sqrt() * rounded((1 - beta2**step) ** -0.5, square) + rounded(hyper["eps"], square)
        mixed = fast * rounded(1 / (1 - beta1**step), fast) + slow * rounded(alpha, slow)
        return mixed / root * rounded(-hyper["lr"], mixed), {
            "exp_avg": fast, "exp_avg_slow": slow, "exp_avg_sq": square,
        }  # fmt: skip

    def _warmed(self, hyper: Hyper, step: Any) -> tuple[Number, Number]:
        """Alpha and beta3 at a step."""
        alpha, beta3 = hyper["alpha"], hyper["beta3"]
        if not self.warmup_steps:
            return alpha, beta3
        share = elapsed(step) / self.warmup_steps
        begin, end = _half_life(hyper["beta1"]), _half_life(beta3)
        if not isinstance(share, Tensor):
            return (alpha, beta3) if share >= 1 else (share * alpha, 0.5 ** (1 / (begin + share * (end - begin))))
        within = share.clamp(max=1.0)
        growing = 0.5 ** (1 / (begin + within * (end - begin)))
        return within * alpha, torch.where(share < 1, growing, torch.as_tensor(beta3, dtype=share.dtype).to(share))


def _half_life(beta: Number) -> Number:
    """Steps in which an average forgets half."""
    if isinstance(beta, Tensor):
        return math.log(0.5) / torch.log(beta + _LEAST)
    return math.log(0.5) / math.log(beta + _LEAST)
