"""How unlike are two spectra that are known by quadrature nodes and weights?"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Nodes and weights whose sums stand for means over a matrix' eigenvalues.

    Attributes:
        nodes: ``[n]``.
        weights: ``[n]``, from 0 up, with sum 1.
    """

    nodes: Array
    weights: Array

    @property
    def mean(self) -> float:
        """Mean eigenvalue: the trace over the dimension."""
        return float(self.nodes @ self.weights)

    def density(self, grid: Array, width: float) -> Array:
        """Probability of each grid point, nodes smeared by a Gaussian; the sum is 1."""
        bumps = np.exp(-0.5 * ((grid[:, None] - self.nodes[None]) / width) ** 2)
        density = (bumps / bumps.sum(axis=0, keepdims=True).clip(min=1e-300)) @ self.weights
        return density / density.sum()


def jensen_shannon(first: Array, second: Array) -> float:
    r"""Jensen-Shannon distance of two distributions on one grid, between 0 and 1.

    .. math::
        \sqrt{\tfrac12 KL(p \,\|\, m) + \tfrac12 KL(q \,\|\, m)}, \quad m = (p + q) / 2

    with logarithms to base 2.
    """
    middle = (first + second) / 2

    def divergence(p: Array) -> float:
        known = p > 0
        return float(np.sum(p[known] * np.log2(p[known] / middle[known])))

    return math.sqrt(max(0.0, (divergence(first) + divergence(second)) / 2))


def spectrum_distances(spectra: Mapping[str, Spectrum], points: int = 512, smear: float = 0.02) -> dict[str, float]:
    """Jensen-Shannon distance of every pair of spectra (Zhang et al. 2024, section 3).

    Eigenvalues of different blocks span orders of magnitude and both signs, so that densities are compared on an axis
    of ``asinh(x / s)``, with ``s`` a thousandth of the largest magnitude: about linear near zero, logarithmic beyond.

    Args:
        spectra: by block.
        points: of the grid.
        smear: standard deviation of each node's Gaussian, as a share of the axis.

    Returns:
        ``"first~second"`` -> distance, between 0 and 1.
    """
    largest = max((float(np.abs(s.nodes).max()) for s in spectra.values()), default=0.0)
    scale = largest / 1000 if largest > 0 else 1.0
    mapped = {name: Spectrum(np.arcsinh(s.nodes / scale), s.weights) for name, s in spectra.items()}
    low = min((float(s.nodes.min()) for s in mapped.values()), default=0.0)
    high = max((float(s.nodes.max()) for s in mapped.values()), default=1.0)
    width = smear * max(high - low, 1e-12)
    grid = np.linspace(low - 4 * width, high + 4 * width, points)
    densities = {name: s.density(grid, width) for name, s in mapped.items()}
    return {f"{a}~{b}": jensen_shannon(densities[a], densities[b]) for a, b in itertools.combinations(densities, 2)}
