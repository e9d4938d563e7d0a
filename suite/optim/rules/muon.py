"""Muon: orthogonalised momentum."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from suite.fields import ConfigError, plain
from suite.optim.broadcast import Hyper, State, average, rounded
from suite.optim.config import AVERAGE, OptimizerConfig, Scope
from suite.optim.newton_schulz import orthogonalised
from suite.optim.parsing import describe, parse_part


@dataclasses.dataclass(frozen=True, kw_only=True)
class Muon(OptimizerConfig):
    r"""Orthogonalised momentum for the hidden matrices, another rule for the rest (Jordan et al. 2024).

    .. math::
        m_t = \mu m_{t-1} + (1 - \mu) g_t, \quad
        u_t = (1 - \mu) g_t + \mu m_t \text{ (Nesterov) or } m_t, \quad
        \theta_t = \theta_{t-1} - \eta_t \, s \, \mathrm{NS}(u_t)

    NS brings all singular values near 1 by Newton-Schulz iterations of an odd quintic polynomial. For a matrix of
    :math:`a` rows and :math:`b` columns the scale s is :math:`\sqrt{\max(1, a / b)}` (``original``) or
    :math:`0.2 \sqrt{\max(a, b)}` (``match_rms_adamw``: steps have AdamW's size, so that both can share a learning
    rate; Liu et al. 2025). A convolution kernel is a matrix of output channels by everything else.

    Muon updates hidden parameters with two or more dimensions; the rule in ``adam`` updates norms, biases, embeddings
    and the head. As a group of a hybrid, Muon updates the parameters of that group alone.

    The rule needs whole parameters: `build` refuses those that FSDP has sharded. Under DDP every process computes the
    same step.

    Attributes:
        momentum: decay of the average, 0 to below 1.
        nesterov: step along the mix of the average and the current gradient.
        iterations: number of Newton-Schulz iterations.
        full_precision: run them in the parameters' precision instead of bfloat16: many times faster on processors
            without arithmetic in bfloat16. Torch's Muon has no such setting.
        scale: how a step's size depends on the matrix's shape: original or match_rms_adamw.
        adam: plain values of the rule for the other parameters, such as ``{lr: 1.0e-3, beta: 0.95}``; a ``name`` in it
            selects another rule than Adam. With ``match_rms_adamw`` its ``lr`` may be omitted and is then Muon's.
    """

    momentum: float = dataclasses.field(default=0.95, metadata=AVERAGE)
    nesterov: bool = True
    iterations: int = dataclasses.field(default=5, metadata={"at_least": 1, "below": 100})
    full_precision: bool = dataclasses.field(
        default=False, metadata={"when_set": "earlier runs, made without it, keep their id"}
    )
    scale: Literal["original", "match_rms_adamw"] = "original"
    adam: dict[str, Any] = dataclasses.field(default_factory=dict)

    buffers = ("momentum_buffer",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if "lr" in self._rest_values():
            filled = describe(self.rest())
            object.__setattr__(self, "adam", plain(filled))

    def _rest_values(self) -> dict[str, Any]:
        shared = {"lr": self.lr} if self.scale == "match_rms_adamw" else {}
        return {"name": "adam", **shared, **self.adam}

    def rest(self) -> OptimizerConfig:
        """The rule for the parameters that are not hidden matrices.

        Raises:
            ConfigError: the rule has no learning rate.
        """
        values = self._rest_values()
        if "lr" not in values:
            raise ConfigError(
                "muon needs a learning rate for the parameters that are no hidden matrices, got none; set adam.lr, or "
                "scale match_rms_adamw to use the same."
            )
        return parse_part(values)

    @property
    def scope(self) -> Scope:
        """Each matrix alone."""
        return "matrix"

    def assign(
        self, parameters: Mapping[str, Tensor], roles: Callable[[], Mapping[str, str]]
    ) -> list[tuple[str, OptimizerConfig, list[str]]]:
        """Assign the hidden matrices to Muon and the other parameters to the rule in ``adam``.

        Raises:
            ConfigError: there is no hidden matrix, or the rule in ``adam`` has no learning rate.
        """
        role_of = roles()
        matrices = [name for name, p in parameters.items() if role_of[name] == "hidden" and p.ndim >= 2]
        others = [name for name in parameters if name not in set(matrices)]
        if not matrices:
            raise ConfigError(
                "muon must have hidden matrices to move, but the network has none; use another optimizer."
            )
        assigned: list[tuple[str, OptimizerConfig, list[str]]] = [("muon", self, matrices)]
        return assigned + ([("adam", self.rest(), others)] if others else [])

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step on a matrix ``[rows, columns]`` or ``[R, rows, columns]``."""
        momentum = hyper["momentum"]
        buffer = average(state["momentum_buffer"], grad, momentum)
        mixed = torch.lerp(grad, buffer, rounded(momentum, grad)) if self.nesterov else buffer
        size = hyper["lr"] * self._shape_scale(*grad.shape[-2:])
        direction = orthogonalised(mixed, self.iterations, full_precision=self.full_precision).to(grad.dtype)
        return direction * rounded(-size, grad), {"momentum_buffer": buffer}

    def _shape_scale(self, rows: int, columns: int) -> float:
        if self.scale == "original":
            return math.sqrt(max(1.0, rows / columns))
        return 0.2 * math.sqrt(max(rows, columns))

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | None:
        """`torch.optim.Muon`; None where it lacks what is asked: other dimensions than two, a decay, full precision."""
        are_matrices = all(p.ndim == 2 for group in groups for p in group["params"])
        if self.full_precision or self.decay in ("coupled", "independent") or not are_matrices:
            return None
        return torch.optim.Muon(
            groups,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.iterations,
            adjust_lr_fn=self.scale,
        )
