"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from suite.fields import require
from suite.optim.broadcast import Hyper, Number, State, average, heavy_ball, rounded
from suite.optim.config import AVERAGE, OptimizerConfig
from suite.optim.sharding import is_sharded


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD(OptimizerConfig):
    r"""SGD, optionally with momentum.

    .. math::
        m_1 = g_1, \quad m_t = \mu m_{t-1} + (1 - d) g_t, \quad \theta_t = \theta_{t-1} - \eta_t m_t

    with :math:`d = 0` for the heavy ball (paper 1: the step then scales as :math:`\eta / (1 - \mu)`) and
    :math:`d = \mu` for damped momentum (papers 2 and 3: a moving average). Nesterov steps along :math:`g_t + \mu m_t`.
    After the first steps, the heavy ball at learning rate :math:`\eta` makes the steps of damped momentum at
    :math:`\eta / (1 - \mu)`. Both start at the first gradient, as `torch.optim.SGD` does.

    Attributes:
        momentum: the heavy-ball coefficient, 0 to below 1; 0 is plain SGD.
        damped: weigh the newest gradient by ``1 - momentum``.
        nesterov: Nesterov momentum; needs momentum above 0 and no damping.
    """

    momentum: float = dataclasses.field(default=0.0, metadata=AVERAGE)
    damped: bool = False
    nesterov: bool = False

    buffers = ("momentum_buffer",)

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = not self.nesterov or (self.momentum > 0 and not self.damped)
        require(fits, "nesterov", "used with momentum above 0 and no damping", True)

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        buffer = accumulated(state["momentum_buffer"], grad, hyper["momentum"], damped=self.damped, step=step)
        direction = heavy_ball(buffer, grad, hyper["momentum"]) if self.nesterov else buffer
        return direction * rounded(-hyper["lr"], direction), {"momentum_buffer": buffer}

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | None:
        """The fused `torch.optim.SGD`; None for decoupled and independent decay, which it lacks.

        Its kernel does not take parameters that FSDP2 has sharded; those are moved by torch's other implementation.
        """
        if self.decay in ("decoupled", "independent"):
            return None
        return torch.optim.SGD(
            groups,
            lr=self.lr,
            momentum=self.momentum,
            dampening=self.momentum if self.damped else 0.0,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=not any(is_sharded(parameter) for group in groups for parameter in group["params"]),
        )


def accumulated(buffer: Tensor, grad: Tensor, momentum: Number, *, damped: bool, step: int) -> Tensor:
    """The momentum after one more gradient: a heavy-ball sum, or if damped an average that starts at the first."""
    if damped:
        return average(buffer, grad, momentum) if step > 1 else grad.clone()
    return heavy_ball(buffer, grad, momentum)
