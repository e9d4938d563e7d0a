"""Adam."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suite.optim.config import ConfigError, OptimizerConfig, require

if TYPE_CHECKING:
    from suite.optim.config import Number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(OptimizerConfig):
    r"""Adam (Kingma & Ba 2015), with one beta for both averages or two.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \theta_t = \theta_{t-1}
        - \eta_t \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Give ``beta`` (tied; paper 1's grids, and paper 3 finds equal betas near-optimal) or ``beta1`` and ``beta2``;
    with none of them the betas are 0.9 and 0.999.

    Attributes:
        beta: decay of both averages, 0 to below 1.
        beta1: decay of the gradient's average, where ``beta`` is not given.
        beta2: decay of the squared gradient's average, where ``beta`` is not given.
        eps: added to the root of the second moment, after the bias correction.
    """

    beta: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta is not None and (self.beta1 is not None or self.beta2 is not None):
            raise ConfigError("adam takes beta (tied) or beta1 and beta2, got both; remove one of the two.")
        for name in ("beta", "beta1", "beta2"):
            value = getattr(self, name)
            require(value is None or 0 <= value < 1, name, "from 0 to below 1", value)
        require(self.eps >= 0, "eps", "at least 0", self.eps)

    @property
    def betas(self) -> tuple[float, float]:
        """Decays of the two averages."""
        if self.beta is not None:
            return self.beta, self.beta
        return (0.9 if self.beta1 is None else self.beta1), (0.999 if self.beta2 is None else self.beta2)

    def hyperparameters(self) -> dict[str, float]:
        """The learning rate, both betas and eps."""
        beta1, beta2 = self.betas
        return {**super().hyperparameters(), "beta1": beta1, "beta2": beta2}

    def init_state(self, param: Tensor) -> dict[str, Tensor]:
        """Both averages, at zero."""
        return {"exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}

    def rule(
        self, grad: Tensor, param: Tensor, state: dict[str, Tensor], hyper: Mapping[str, Number], step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step; see the class."""
        beta1, beta2 = hyper["beta1"], hyper["beta2"]
        mean = beta1 * state["exp_avg"] + (1 - beta1) * grad
        square = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
        denominator = (square / (1 - beta2**step)).sqrt() + hyper["eps"]
        return -(hyper["lr"] / (1 - beta1**step)) * (mean / denominator), {"exp_avg": mean, "exp_avg_sq": square}

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | None:
        """`torch.optim.Adam`, or `torch.optim.AdamW` for decoupled decay, fused."""
        if self.decay == "independent":
            return None
        cls = torch.optim.AdamW if self.decay == "decoupled" else torch.optim.Adam
        return cls(groups, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True)
