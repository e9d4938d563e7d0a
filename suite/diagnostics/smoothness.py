r"""The smoothness of the loss in the two geometries that the theory compares (paper 1, section 5).

A function is L-smooth in a norm if the change of its gradient, in the dual norm, is at most L times the change of the
point. Normalised SGD depends on :math:`L_2` (Euclidean, its own dual), sign descent on :math:`L_\infty` (maximum norm,
dual: sum of magnitudes). At one point these are the norms :math:`\lVert H \rVert_{2 \to 2}` and
:math:`\lVert H \rVert_{\infty \to 1}` of the Hessian. Their ratio :math:`1 \le r \le d` determines the regime;
see `suite.theory.regimes`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from suite.diagnostics.at_weights import at_weights
from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment
from suite.diagnostics.probe import Probe, joined
from suite.optim.norms import norm_of

_Map = Callable[[Tensor], Tensor]


def path_smoothness(gradient_change: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    r"""Lower bounds of :math:`L_2` and :math:`L_\infty` from two points.

    .. math::
        \lVert g(x) - g(y) \rVert_2 / \lVert x - y \rVert_2, \quad
        \lVert g(x) - g(y) \rVert_1 / \lVert x - y \rVert_\infty

    Args:
        gradient_change: difference of the gradients at two points, ``[P]``.
        step: difference of the points, ``[P]``.
    """
    l2 = norm_of(gradient_change) / norm_of(step)
    return l2, gradient_change.abs().sum() / step.abs().amax()


def euclidean_norm(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Tensor:
    r"""A lower bound of :math:`\lVert H \rVert_{2 \to 2}` by power iteration, 0-d.

    Args:
        product: function from a vector ``[P]`` to H times the vector, for symmetric H.
        start: first vector, ``[P]``.
        iterations: number of products with H.
    """
    return _longest(product, start, iterations, lambda x: x / norm_of(x), norm_of)


def sign_norm(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Tensor:
    r"""A lower bound of :math:`\lVert H \rVert_{\infty \to 1} = \max_{x, y \in \{-1, 1\}^d} y^\top H x`, 0-d.

    It alternates :math:`y = \mathrm{sign}(Hx)` and :math:`x = \mathrm{sign}(Hy)`, which never decreases
    :math:`\lVert Hx\rVert_1` and converges to a local maximum. The exact norm is NP-hard to compute (Rohn 2000).

    Args:
        product: function from a vector ``[P]`` to H times the vector, for symmetric H.
        start: a vector whose sign is the first x, ``[P]``.
        iterations: number of products with H.
    """
    return _longest(product, start, iterations, lambda x: torch.where(x >= 0, 1.0, -1.0).to(x), lambda x: x.abs().sum())


def _longest(product: _Map, vector: Tensor, iterations: int, to_unit: _Map, length: _Map) -> Tensor:
    """The largest length of ``H x`` over the iterates ``x``; each is the previous product, mapped by ``to_unit``."""
    best = vector.new_zeros(())
    for _ in range(iterations):
        vector = product(to_unit(vector))
        best = torch.maximum(best, length(vector))
    return best


@dataclasses.dataclass(frozen=True, kw_only=True)
class Smoothness(Diagnostic):
    r"""Smoothness in both norms, their ratio r, and the regime that the theory predicts for it.

    Quantities: ``l2_path``, ``linf_path``, ``r_path`` along the step of the run (`path_smoothness`); ``l2``, ``linf``,
    ``r`` at the weights before the step, over all directions (`euclidean_norm`, `sign_norm`); ``threshold``,
    :math:`d^{1/3}`; ``regime``, 1 if :math:`r < d^{1/3}` (a crossover exists), else 2 (SGD is better throughout).
    Both norms are lower bounds, so r may be too large or too small.

    Attributes:
        samples: number of training samples for gradient and Hessian.
        iterations: number of products with the Hessian for each of the two norms.
    """

    samples: int = 16
    iterations: int = 8

    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"before"})

    def measure(self, moment: Moment) -> Values:
        """Both norms at one step."""
        probe = Probe.of(moment, self.samples)
        after, update = probe.gradient(), joined(moment.update)
        with at_weights(moment.network, moment.before):
            before = probe.gradient()
            generator = torch.Generator().manual_seed(moment.step)
            start = torch.randn(update.numel(), generator=generator).to(update)
            l2 = euclidean_norm(probe.hessian_product, start, self.iterations)
            # Start from the direction of sign descent, in which every coordinate has the maximum norm.
            linf = sign_norm(probe.hessian_product, before, self.iterations)
        l2_path, linf_path = path_smoothness(after - before, update)
        threshold = update.numel() ** (1 / 3)
        ratio = linf / l2
        return {
            ("l2_path", ""): l2_path,
            ("linf_path", ""): linf_path,
            ("r_path", ""): linf_path / l2_path,
            ("l2", ""): l2,
            ("linf", ""): linf,
            ("r", ""): ratio,
            ("threshold", ""): threshold,
            ("regime", ""): torch.where(ratio < threshold, 1.0, 2.0) if bool(ratio.isfinite()) else math.nan,
        }
