"""Scion: steps of a fixed norm, a norm per kind of layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from suite.fields import ConfigError
from suite.optim.broadcast import Hyper, State, average, rounded
from suite.optim.config import AVERAGE, OptimizerConfig, Scope
from suite.optim.newton_schulz import orthogonalised

Norm = Literal["by_layer", "spectral", "max", "max_of_head", "rms"]

_OF_MATRICES: Mapping[str, Norm] = {"embed": "max", "head": "max_of_head"}
"""Role of a matrix -> its norm; of the others it is spectral."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scion(OptimizerConfig):
    r"""Steps along the linear minimisation oracle of a norm, which depends on the layer (Pethick et al. 2025).

    .. math::
        m_t = \mu m_{t-1} + (1 - \mu) g_t, \quad
        \theta_t = (1 - c \, \eta_t) \, \theta_{t-1} - \eta_t \, \rho \, \mathrm{LMO}(m_t)

    with c = 1 if ``constrained``, which keeps the weights within the radius :math:`\rho`, and 0 if not. The norms, and
    their oracles for a matrix of :math:`d_{out}` rows and :math:`d_{in}` columns:

    ``spectral``
        of hidden matrices: :math:`\sqrt{d_{out} / d_{in}} \, U V^T`, by Newton-Schulz iterations as in Muon.
    ``max``
        of embeddings: the sign of m.
    ``max_of_head``
        of matrices of the head: the sign of m over :math:`d_{in}`, with the radius ``head_radius``.
    ``rms``
        of vectors: m over the root of its mean square.

    A convolution kernel is a matrix of output channels by everything else. The defaults of both radii are those of the
    paper's language models, where the learning rate is :math:`2^{-12}`. As everywhere in the suite ``momentum`` is the
    weight of the past; the paper's own :math:`\alpha` is one minus it. Networks keep their own initial weights.

    The rule needs whole parameters: `build` refuses those that FSDP has sharded. Under DDP every process computes the
    same step.

    Attributes:
        momentum: decay of the average, 0 to below 1.
        norm: one norm for all parameters that the rule moves, or ``by_layer``, as above.
        radius: of every norm's ball but the head's.
        head_radius: of the ball of ``max_of_head``.
        constrained: keep the weights in the balls (Scion) or not (unconstrained Scion).
        iterations: number of Newton-Schulz iterations.
        full_precision: run them in the parameters' precision instead of bfloat16: many times faster on processors
            without arithmetic in bfloat16.
    """

    momentum: float = dataclasses.field(default=0.9, metadata=AVERAGE)
    norm: Norm = "by_layer"
    radius: float = dataclasses.field(default=50.0, metadata={"above": 0})
    head_radius: float = dataclasses.field(default=3000.0, metadata={"above": 0})
    constrained: bool = False
    iterations: int = dataclasses.field(default=5, metadata={"at_least": 1, "below": 100})
    full_precision: bool = False

    buffers = ("momentum_buffer",)

    @property
    def scope(self) -> Scope:
        """Each coordinate, vector or matrix alone, by ``norm``; of ``by_layer`` that of its hidden matrices."""
        if self.norm == "max":
            return "element"
        return "tensor" if self.norm == "rms" else "matrix"

    def assign(
        self, parameters: Mapping[str, Tensor], roles: Callable[[], Mapping[str, str]]
    ) -> list[tuple[str, OptimizerConfig, list[str]]]:
        """Assign every parameter to the norm of its layer.

        Raises:
            ConfigError: a single norm of matrices is asked for and a parameter is none.
        """
        if self.norm != "by_layer":
            vectors = [name for name, p in parameters.items() if p.ndim < 2]
            if self.scope == "matrix" and vectors:
                raise ConfigError(
                    f"scion with norm {self.norm} moves matrices, got the vector {vectors[0]!r}; set norm: by_layer."
                )
            return [("", self, list(parameters))]
        role_of = roles()
        names: dict[Norm, list[str]] = {"spectral": [], "max": [], "max_of_head": [], "rms": []}
        for name, parameter in parameters.items():
            names["rms" if parameter.ndim < 2 else _OF_MATRICES.get(role_of[name], "spectral")].append(name)
        return [(norm, dataclasses.replace(self, norm=norm), there) for norm, there in names.items() if there]

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step; see the class."""
        mean = average(state["momentum_buffer"], grad, hyper["momentum"])
        radius = hyper["head_radius" if self.norm == "max_of_head" else "radius"]
        delta = self._oracle(mean) * rounded(-hyper["lr"] * radius, grad)
        if self.constrained:
            delta = delta - rounded(hyper["lr"], grad) * param
        return delta, {"momentum_buffer": mean}

    def _oracle(self, mean: Tensor) -> Tensor:
        if self.norm == "max":
            return torch.sign(mean)
        if self.norm == "rms":
            size = torch.linalg.vector_norm(mean, dim=-1, keepdim=True) / math.sqrt(mean.shape[-1])
            return mean / size.clamp(min=torch.finfo(mean.dtype).tiny)
        rows, columns = mean.shape[-2:]
        if self.norm == "max_of_head":
            return torch.sign(mean) / columns
        return orthogonalised(mean, self.iterations, full_precision=self.full_precision).to(mean.dtype) * math.sqrt(
            rows / columns
        )
