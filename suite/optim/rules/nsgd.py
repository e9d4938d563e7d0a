"""Normalised SGD."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, State, rounded
from suite.optim.config import AVERAGE, Scope
from suite.optim.rules.sgd import accumulated
from suite.optim.statistic import StatisticConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class NSGD(StatisticConfig):
    r"""Normalised SGD with momentum: a step of length :math:`\eta_t` along the momentum (paper 1, section 5).

    .. math::
        m_1 = g_1, \quad m_t = \mu m_{t-1} + (1 - \mu) g_t, \quad
        \theta_t = \theta_{t-1} - \eta_t \frac{m_t}{\lVert m_t \rVert_2}

    The step is the linear minimisation oracle of the Euclidean ball, as Signum's is that of the maximum norm's ball
    (Kovalev 2025). The norm is over the whole network, or over each parameter. If the momentum is zero, so is the step.

    The rule needs whole parameters: `build` refuses those that FSDP has sharded. Under DDP every norm is the same.

    Attributes:
        momentum: decay of the average, 0 to below 1.
        per: whether the network is normalised as one vector, or each tensor.
    """

    momentum: float = dataclasses.field(default=0.0, metadata=AVERAGE)
    per: Literal["network", "tensor"] = "network"

    buffers = ("momentum_buffer",)

    @property
    def scope(self) -> Scope:
        """All parameters, or each parameter alone; see ``per``."""
        return "global" if self.per == "network" else "tensor"

    def accumulate(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> State:
        """The new momentum."""
        return {
            "momentum_buffer": accumulated(state["momentum_buffer"], grad, hyper["momentum"], damped=True, step=step)
        }

    def sketch(self, state: State, *, offset: int, total: int) -> Tensor:
        """The momentum's sum of squares, ``[1]`` or ``[R, 1]``."""
        return sum_of_squares(state["momentum_buffer"])

    def statistic(self, sketches: Tensor, hyper: Hyper) -> Tensor:
        """The norm of the momentum, ``[1]`` or ``[R, 1]``."""
        return sketches.sum(-1, keepdim=True).sqrt()

    def finish(self, state: State, statistic: Tensor, hyper: Hyper) -> Tensor:
        """The step of length ``lr`` along the momentum."""
        momentum = state["momentum_buffer"]
        smallest = torch.finfo(momentum.dtype).tiny
        return momentum * rounded(-hyper["lr"] / statistic.clamp(min=smallest), momentum)


def sum_of_squares(vectors: Tensor) -> Tensor:
    """Sum of squares over the last dimension, ``[P]`` to ``[1]`` or ``[R, P]`` to ``[R, 1]``, at least in float32."""
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=dtype).square()
