"""ADOPT: Adam that normalises a gradient by the second moment of those before it."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, State, average, elapsed, rounded
from suite.optim.config import AVERAGE, NOT_NEGATIVE, OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ADOPT(OptimizerConfig):
    r"""Momentum of gradients that are normalised by the second moment of those before (Taniguchi et al. 2024).

    Adam in another order, which makes it converge whatever its beta2.

    .. math::
        v_0 = g_0^2, \quad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) \mathrm{clip}\Big(\frac{g_t}{\max(\sqrt{v_{t-1}}, \epsilon)},
        t^{1/4}\Big), \quad \theta_t = \theta_{t-1} - \eta_t m_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2

    The first step measures :math:`v_0` and moves nothing; t counts the steps after it.

    Attributes:
        beta1: decay of the average of normalised gradients, 0 to below 1.
        beta2: decay of the squared gradient's average.
        eps: least root of the second moment.
        clipped: clip the normalised gradient's coordinates, as the paper's later version does.
    """

    beta1: float = dataclasses.field(default=0.9, metadata=AVERAGE)
    beta2: float = dataclasses.field(default=0.9999, metadata=AVERAGE)
    eps: float = dataclasses.field(default=1e-6, metadata=NOT_NEGATIVE)
    clipped: bool = True

    buffers = ("exp_avg", "exp_avg_sq")

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        if step == 1:
            return torch.zeros_like(grad), {"exp_avg": torch.zeros_like(grad), "exp_avg_sq": grad * grad}
        root = state["exp_avg_sq"].sqrt()
        normalised = grad / root.clamp(min=rounded(hyper["eps"], root))  # type: ignore[arg-type]
        if self.clipped:
            most = rounded((elapsed(step) - 1) ** 0.25, grad)
            normalised = normalised.clamp(min=-most, max=most)  # type: ignore[arg-type]
        mean = average(state["exp_avg"], normalised, hyper["beta1"])
        square = average(state["exp_avg_sq"], grad * grad, hyper["beta2"])
        return mean * rounded(-hyper["lr"], mean), {"exp_avg": mean, "exp_avg_sq": square}
