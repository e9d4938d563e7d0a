"""The effect of gradient clipping: norms before and after it, and how often it clips (paper 2, Figures 11 and 20)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment
from suite.optim import Clipping
from suite.optim.norms import norm_of


def global_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Joint Euclidean norm of all tensors, 0-d."""
    return torch.linalg.vector_norm(torch.stack([norm_of(t) for t in tensors]))


def clipped_share(grad_norms: Sequence[float], limit: float | None, block: int) -> dict[int, float]:
    """Share of steps whose gradient norm exceeds the limit, per block of steps (paper 2, Figure 11).

    Args:
        grad_norms: gradient norm of every step, before clipping.
        limit: largest norm that is not clipped; None: no clipping.
        block: number of steps per block.

    Returns:
        Last step of each block -> share; the last block may be shorter.
    """
    shares = {}
    for start in range(0, len(grad_norms), block):
        norms = grad_norms[start : start + block]
        hits = sum(limit is not None and norm > limit for norm in norms)
        shares[start + len(norms) - 1] = hits / len(norms)
    return shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientClipping(Diagnostic):
    """Norm of the gradient before and after clipping, and the share of steps that were clipped.

    Quantities: ``norm_before``, ``norm_after``; ``clipped_share`` of the ``block`` steps up to the row's step.

    Attributes:
        block: number of steps per clipped share.
    """

    block: int = 100

    default: ClassVar[dict[str, int]] = {"every": 100}
    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"raw", "clipped"})

    def measure(self, moment: Moment) -> Values:
        """The norms of one step."""
        return {
            ("norm_before", ""): global_norm(moment.raw.values()),
            ("norm_after", ""): global_norm(moment.clipped.values()),
        }

    def at_end(self, grad_norms: list[float], clipping: Clipping) -> dict[int, Values]:
        """The clipped share of every block."""
        shares = clipped_share(grad_norms, clipping.max_norm, max(1, self.block))
        return {step: {("clipped_share", ""): share} for step, share in shares.items()}


def share_at_limit(clipped: Tensor, limit: float) -> Tensor:
    """Share of coordinates whose magnitude has reached the limit, 0-d."""
    return (clipped.abs() >= limit).float().mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClippedCoordinates(Diagnostic):
    """Share of each layer's coordinates that a limit on coordinates clips.

    Quantities, by parameter: ``gradient_share``, clipped by ``clip_coordinate`` if it is set; ``momentum_share``,
    clipped at the quantile of the optimizer ``sgd_quantile_clip`` (paper 2, Algorithm 1).

    Packs do not report the quantile of their optimizer, so this diagnostic needs runs that are trained one by one.
    """

    default: ClassVar[dict[str, int]] = {"every": 100}
    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"clipped"})
    packable = False

    def measure(self, moment: Moment) -> Values:
        """The shares of one step."""
        values: Values = {}
        limit = moment.task.clipping.max_coordinate
        if limit is not None:
            values |= {("gradient_share", n): share_at_limit(g, limit) for n, g in moment.clipped.items()}
        shares = moment.report().get("clipped_share", {})
        return values | {("momentum_share", name): share.squeeze() for name, share in shares.items()}
