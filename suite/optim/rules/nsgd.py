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

    It is the linear minimisation oracle of the Euclidean ball, as Signum is that of the maximum norm's (Kovalev 2025).
    The norm is over the whole network, or over each parameter. A zero momentum gives no step.

    Needs whole parameters: it refuses those sharded by FSDP; under DDP every process computes the same norm.

    Attributes:
        momentum: decay of the average, 0 to below 1.
        per: what is normalised: the network as one vector, or each tensor.
    """

    momentum: float = dataclasses.field(default=0.0, metadata=AVERAGE)
    per: Literal["network", "tensor"] = "network"

    buffers = ("momentum_buffer",)

    @property
    def scope(self) -> Scope:
        """All parameters, or one."""
        return "global" if self.per == "network" else "tensor"

    def accumulate(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> State:
        """The momentum."""
        return {
            "momentum_buffer": accumulated(state["momentum_buffer"], grad, hyper["momentum"], damped=True, step=step)
        }

    def sketch(self, state: State, *, offset: int, total: int) -> Tensor:
        """Sum of squares."""
        return sum_of_squares(state["momentum_buffer"])

    def statistic(self, sketches: Tensor, hyper: Hyper) -> Tensor:
        """The norm."""
        return sketches.sum(-1, keepdim=True).sqrt()

    def finish(self, state: State, statistic: Tensor, hyper: Hyper) -> Tensor:
        """A step of length ``lr``."""
        momentum = state["momentum_buffer"]
        smallest = torch.finfo(momentum.dtype).tiny
        return momentum * rounded(-hyper["lr"] / statistic.clamp(min=smallest), momentum)


def sum_of_squares(vectors: Tensor) -> Tensor:
    """Over the last dimension, ``[P]`` to ``[1]`` or ``[R, P]`` to ``[R, 1]``, in single precision at least."""
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=dtype).square()
