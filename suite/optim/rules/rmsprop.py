"""RMSprop."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, State, average, rounded
from suite.optim.config import AVERAGE, NOT_NEGATIVE, OptimizerConfig
from suite.optim.fused_adam import fused_adam


@dataclasses.dataclass(frozen=True, kw_only=True)
class RMSprop(OptimizerConfig):
    r"""RMSprop as Adam without momentum (paper 3, section 3: :math:`\beta_1 = 0`, bias-corrected).

    .. math::
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \theta_t = \theta_{t-1} - \eta_t \frac{g_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Without bias correction it is `torch.optim.RMSprop` with ``alpha`` :math:`= \beta_2`.

    Attributes:
        beta2: decay of the squared gradient's average, 0 to below 1.
        eps: constant added to the root of the second moment.
        bias_correction: correct the bias of an average that starts at zero.
    """

    beta2: float = dataclasses.field(default=0.99, metadata=AVERAGE)
    eps: float = dataclasses.field(default=1e-8, metadata=NOT_NEGATIVE)
    bias_correction: bool = True

    buffers = ("exp_avg_sq",)

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        beta2 = hyper["beta2"]
        square = average(state["exp_avg_sq"], grad * grad, beta2)
        root = square.sqrt()
        if self.bias_correction:
            root.mul_(rounded((1 - beta2**step) ** -0.5, root))
        delta = torch.div(grad, root.add_(rounded(hyper["eps"], root))).mul_(rounded(-hyper["lr"], root))
        return delta, {"exp_avg_sq": square}

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | None:
        """Fused Adam with a first beta of 0; without bias correction `torch.optim.RMSprop`, or None for its decays."""
        if self.bias_correction:
            return fused_adam(self, groups, (0.0, self.beta2), self.eps)
        if self.decay in ("decoupled", "independent"):
            return None
        return torch.optim.RMSprop(groups, lr=self.lr, alpha=self.beta2, eps=self.eps, weight_decay=self.weight_decay)
