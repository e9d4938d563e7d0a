"""Rules that step along signs, whatever the size of the gradient."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, State, average, rounded
from suite.optim.config import AVERAGE, OptimizerConfig
from suite.optim.rules.adam import Initialization


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignSGD(OptimizerConfig):
    r"""Sign descent (Bernstein et al. 2018; paper 3, Table 1).

    .. math::
        \theta_t = \theta_{t-1} - \eta_t \, \mathrm{sign}(g_t)

    A coordinate whose gradient is zero does not move.
    """

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        return torch.sign(grad).mul_(rounded(-hyper["lr"], grad)), {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signum(OptimizerConfig):
    r"""Sign of the momentum (Bernstein et al. 2018; paper 3, section 3).

    .. math::
        m_t = \mu m_{t-1} + (1 - \mu) g_t, \quad \theta_t = \theta_{t-1} - \eta_t \, \mathrm{sign}(m_t)

    It is Adam with tied betas whose variance term is dropped (paper 3, section 4).

    Attributes:
        momentum: decay of the average, 0 to below 1.
        initialization: start the average at the first gradient (paper 3's default) or at zero.
    """

    momentum: float = dataclasses.field(default=0.9, metadata=AVERAGE)
    initialization: Initialization = "gradient"

    buffers = ("exp_avg",)

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        first = step == 1 and self.initialization == "gradient"
        mean = grad.clone() if first else average(state["exp_avg"], grad, hyper["momentum"])
        return torch.sign(mean).mul_(rounded(-hyper["lr"], mean)), {"exp_avg": mean}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMASign(Signum):
    r"""Step along an average of signs: the average comes after the sign, not before (paper 3, "EMASign").

    .. math::
        m_t = \mu m_{t-1} + (1 - \mu) \, \mathrm{sign}(g_t), \quad \theta_t = \theta_{t-1} - \eta_t m_t

    Attributes:
        momentum: decay of the average, 0 to below 1.
        initialization: start the average at the first sign or at zero.
    """

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        sign = torch.sign(grad)
        first = step == 1 and self.initialization == "gradient"
        mean = sign if first else average(state["exp_avg"], sign, hyper["momentum"])
        return mean * rounded(-hyper["lr"], mean), {"exp_avg": mean}
