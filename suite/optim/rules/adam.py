"""Adam and AdamW."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor

from suite.fields import ConfigError, require
from suite.optim.broadcast import Hyper, State, average, rounded
from suite.optim.config import AVERAGE, NOT_NEGATIVE, Decay, OptimizerConfig
from suite.optim.fused_adam import fused_adam

Initialization = Literal["zero", "gradient"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(OptimizerConfig):
    r"""Adam (Kingma & Ba 2015), with one beta for both averages or two.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \theta_t = \theta_{t-1}
        - \eta_t \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Give ``beta`` (tied; paper 1's grids, and paper 3 finds equal betas near-optimal) or ``beta1`` and ``beta2``;
    without any, the betas are 0.9 and 0.999. Without bias correction the two divisors are left out. Averages that start
    at the gradient (:math:`m_1 = g_1, v_1 = g_1^2`) need no correction (paper 3, Table 3: "GI - BC").

    Attributes:
        beta: decay of both averages, 0 to below 1.
        beta1: decay of the gradient's average, where ``beta`` is not given.
        beta2: decay of the squared gradient's average, where ``beta`` is not given.
        eps: constant added to the root of the second moment, after the bias correction.
        bias_correction: correct the bias of averages that start at zero.
        initialization: start the averages at zero, or at the first gradient and its square.
    """

    beta: float | None = dataclasses.field(default=None, metadata=AVERAGE)
    beta1: float | None = dataclasses.field(default=None, metadata=AVERAGE)
    beta2: float | None = dataclasses.field(default=None, metadata=AVERAGE)
    eps: float = dataclasses.field(default=1e-8, metadata=NOT_NEGATIVE)
    bias_correction: bool = True
    initialization: Initialization = "zero"

    buffers = ("exp_avg", "exp_avg_sq")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta is not None and (self.beta1 is not None or self.beta2 is not None):
            raise ConfigError("adam takes beta (tied) or beta1 and beta2, got both; remove one of the two.")
        if self.initialization == "gradient" and self.bias_correction:
            raise ConfigError(
                "initialization 'gradient' starts without a bias, got bias_correction true; set bias_correction false."
            )

    @property
    def betas(self) -> tuple[float, float]:
        """Decays of the two averages."""
        if self.beta is not None:
            return self.beta, self.beta
        return (0.9 if self.beta1 is None else self.beta1), (0.999 if self.beta2 is None else self.beta2)

    def hyperparameters(self) -> dict[str, float]:
        """The learning rate, both betas, eps, and weight decay if there is any."""
        beta1, beta2 = self.betas
        return {**super().hyperparameters(), "beta1": beta1, "beta2": beta2}

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        beta1, beta2 = hyper["beta1"], hyper["beta2"]
        if step == 1 and self.initialization == "gradient":
            mean, square = grad.clone(), grad * grad
        else:
            mean = average(state["exp_avg"], grad, beta1)
            square = average(state["exp_avg_sq"], grad * grad, beta2)
        root = square.sqrt()
        if self.bias_correction:
            root.mul_(rounded((1 - beta2**step) ** -0.5, root))
            size = hyper["lr"] / (1 - beta1**step)
        else:
            size = hyper["lr"]
        delta = torch.div(mean, root.add_(rounded(hyper["eps"], root))).mul_(rounded(-size, mean))
        return delta, {"exp_avg": mean, "exp_avg_sq": square}

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | None:
        """Torch's fused Adam, for every decay policy and initialization; see `fused_adam` for when it is None."""
        gradient_start = self.initialization == "gradient"
        correction = self.bias_correction
        return fused_adam(self, groups, self.betas, self.eps, bias_correction=correction, gradient_start=gradient_start)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    r"""Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    .. math::
        \theta_t = \theta_{t-1} - \eta_t \lambda \theta_{t-1} - \eta_t \, d_t

    with the direction :math:`d_t` of `Adam`, which supports the other decay policies.

    Attributes:
        weight_decay: strength of the decay, at least 0.
        decay: always decoupled.
    """

    weight_decay: float = dataclasses.field(default=0.01, metadata=NOT_NEGATIVE)
    decay: Decay = "decoupled"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.decay == "decoupled", "decay", "decoupled for adamw (adam takes any policy)", self.decay)
