"""MARS: Adam on gradients that are corrected by the last ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from suite.optim.broadcast import Hyper, State, average, rounded
from suite.optim.config import AVERAGE, NOT_NEGATIVE, OptimizerConfig, Scope
from suite.optim.rules.adam import Adam


@dataclasses.dataclass(frozen=True, kw_only=True)
class MARS(OptimizerConfig):
    r"""MARS-AdamW in the approximate form of its released code (Yuan et al. 2024).

    .. math::
        c_t = g_t + \gamma \frac{\beta_1}{1 - \beta_1} (g_t - g_{t-1}), \quad
        \tilde c_t = \frac{c_t}{\max(1, \lVert c_t \rVert_2)}

    per parameter, with :math:`g_0 = 0`, and then Adam's step on :math:`\tilde c_t` in place of the gradient. The exact
    form evaluates the last gradient on the present batch, which takes a second pass; this one does not. Parameters of
    one dimension move by Adam with betas 0.9 and 0.95 at the same learning rate, unless ``vectors`` is mars.

    The rule needs whole parameters: `build` refuses those that FSDP has sharded.

    Attributes:
        beta1: decay of the corrected gradient's average, 0 to below 1.
        beta2: decay of its square's average.
        gamma: strength of the correction.
        eps: constant added to the root of the second moment, after the bias correction.
        vectors: the rule for parameters of one dimension, adam or mars.
    """

    beta1: float = dataclasses.field(default=0.95, metadata=AVERAGE)
    beta2: float = dataclasses.field(default=0.99, metadata=AVERAGE)
    gamma: float = dataclasses.field(default=0.025, metadata=NOT_NEGATIVE)
    eps: float = dataclasses.field(default=1e-8, metadata=NOT_NEGATIVE)
    vectors: Literal["adam", "mars"] = "adam"

    buffers = ("exp_avg", "exp_avg_sq", "last_grad")

    @property
    def scope(self) -> Scope:
        """Each parameter alone, for the norm of its corrected gradient."""
        return "tensor"

    def assign(
        self, parameters: Mapping[str, Tensor], roles: Callable[[], Mapping[str, str]]
    ) -> list[tuple[str, OptimizerConfig, list[str]]]:
        """Assign parameters of two dimensions and more to MARS, and the others as ``vectors`` says."""
        if self.vectors == "mars":
            return [("", self, list(parameters))]
        matrices = [name for name, parameter in parameters.items() if parameter.ndim >= 2]
        others = [name for name in parameters if name not in set(matrices)]
        shared = {name: getattr(self, name) for name in ("lr", "eps", "weight_decay", "decay", "undecayed")}
        parts: list[tuple[str, OptimizerConfig, list[str]]] = [
            ("mars", self, matrices),
            ("adam", Adam(beta1=0.9, beta2=0.95, **shared), others),
        ]
        return [part for part in parts if part[2]]

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step on a parameter ``[P]`` or ``[R, P]``; see the class."""
        beta1, beta2 = hyper["beta1"], hyper["beta2"]
        strength = rounded(hyper["gamma"] * beta1 / (1 - beta1), grad)
        corrected = grad + (grad - state["last_grad"]) * strength
        corrected = corrected / torch.linalg.vector_norm(corrected, dim=-1, keepdim=True).clamp(min=1.0)
        mean = average(state["exp_avg"], corrected, beta1)
        square = average(state["exp_avg_sq"], corrected * corrected, beta2)
        root = square.sqrt() * rounded((1 - beta2**step) ** -0.5, square) + rounded(hyper["eps"], square)
        delta = mean / root * rounded(-hyper["lr"] / (1 - beta1**step), mean)
        return delta, {"exp_avg": mean, "exp_avg_sq": square, "last_grad": grad.clone()}
