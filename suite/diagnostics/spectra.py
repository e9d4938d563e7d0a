"""Hessian spectra of the blocks of a network, and the distances between them (Zhang et al. 2024)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.diagnostics.diagnostic import Diagnostic, Values
from suite.diagnostics.moment import Moment
from suite.diagnostics.probe import Probe

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Nodes and weights of a quadrature for means over the eigenvalues of a matrix.

    Attributes:
        nodes: the nodes, ``[n]``.
        weights: the weights, ``[n]``, not negative and with sum 1.
    """

    nodes: Array
    weights: Array

    @property
    def mean(self) -> float:
        """The mean eigenvalue, which is the trace divided by the dimension."""
        return float(self.nodes @ self.weights)

    def density(self, grid: Array, width: float) -> Array:
        """The probability of each grid point, with nodes smoothed by a Gaussian of standard deviation ``width``."""
        bumps = np.exp(-0.5 * ((grid[:, None] - self.nodes[None]) / width) ** 2)
        density = (bumps / bumps.sum(axis=0, keepdims=True).clip(min=1e-300)) @ self.weights
        return density / density.sum()


def jensen_shannon(first: Array, second: Array) -> float:
    r"""The Jensen-Shannon distance of two distributions on the same grid, between 0 and 1.

    .. math::
        \sqrt{\tfrac12 KL(p \,\|\, m) + \tfrac12 KL(q \,\|\, m)}, \quad m = (p + q) / 2

    with logarithms to base 2.
    """
    middle = (first + second) / 2

    def divergence(p: Array) -> float:
        positive = p > 0
        return float(np.sum(p[positive] * np.log2(p[positive] / middle[positive])))

    return math.sqrt(max(0.0, (divergence(first) + divergence(second)) / 2))


def spectrum_distances(spectra: Mapping[str, Spectrum], points: int = 512, smear: float = 0.02) -> dict[str, float]:
    """The Jensen-Shannon distance of every pair of spectra (Zhang et al. 2024, section 3).

    Eigenvalues of different blocks span orders of magnitude and both signs, so densities are compared on an axis of
    ``asinh(x / s)``, where ``s`` is a thousandth of the largest magnitude: about linear near zero, logarithmic beyond.

    Args:
        spectra: spectra by block.
        points: number of points of the grid.
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


def lanczos_spectrum(
    product: Callable[[Tensor], Tensor], like: Tensor, *, nodes: int, repeats: int, seed: int = 0
) -> Spectrum:
    """Spectrum of a symmetric matrix by stochastic Lanczos quadrature (Ghorbani et al. 2019), with curvlinops' Lanczos.

    Its moments are averages over random vectors; with as many nodes as dimensions they are exact for these vectors.

    Args:
        product: function from a vector ``[P]`` to the matrix times the vector.
        like: a vector ``[P]``, whose length, device and dtype are used.
        nodes: number of nodes per random vector, and of products with the matrix.
        repeats: number of random vectors.
        seed: seed of the random vectors; the global random state does not change.

    Raises:
        ValueError: curvlinops is not installed.
    """
    fast_lanczos, operator = _curvlinops(product, like)
    nodes = min(nodes, like.numel())
    values, weights = [], []
    with torch.random.fork_rng([like.device] if like.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for _ in range(repeats):
            spectrum = _iterated(fast_lanczos, operator, nodes)
            values.append(spectrum.nodes)
            weights.append(spectrum.weights)
    joined_weights = np.concatenate(weights)
    return Spectrum(np.concatenate(values), joined_weights / joined_weights.sum())


def _iterated(fast_lanczos: Callable[..., Any], operator: object, nodes: int) -> Spectrum:
    """One Lanczos iteration; a shorter one if the matrix has fewer distinct eigenvalues than ``nodes``."""
    while True:
        try:
            evals, evecs = fast_lanczos(operator, nodes)
            if nodes == 1 or bool(evals.isfinite().all()):
                return Spectrum(evals.double().cpu().numpy(), evecs[0].double().square().cpu().numpy())
        except torch.linalg.LinAlgError:  # after a division by a zero length
            pass
        nodes = max(1, nodes // 2)


def _curvlinops(product: Callable[[Tensor], Tensor], like: Tensor) -> tuple[Callable[..., Any], object]:
    """The Lanczos iteration of curvlinops, and the matrix as one of its operators."""
    try:
        from curvlinops._torch_base import PyTorchLinearOperator
        from curvlinops.papyan2020traces.spectrum import fast_lanczos
    except ImportError:
        raise ValueError(
            "The diagnostic spectra needs the package curvlinops-for-pytorch; run pip install "
            "'adam-sgd-gap[diagnostics]'."
        ) from None

    class Operator(PyTorchLinearOperator):
        SELF_ADJOINT = True
        device = like.device
        dtype = like.dtype

        def _matmat(self, X: list[Tensor]) -> list[Tensor]:
            (columns,) = X
            return [torch.stack([product(column) for column in columns.unbind(-1)], dim=-1)]

    shape = [tuple(like.shape)]
    return fast_lanczos, Operator(shape, shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectra(Diagnostic):
    """Hessian spectra of the network's blocks, and the distances between them.

    A block is a parameter with two or more dimensions: embedding, projections, head (Zhang et al. 2024, section 3).

    Quantities: ``js_distance``, the mean over all pairs of blocks, and by block the mean distance to the others
    (`spectrum_distances`); by block ``largest``, the eigenvalue of largest magnitude, and ``mean``, the mean
    eigenvalue; ``node`` and ``weight`` by block and number (``head.weight#3``), the spectrum itself.

    Attributes:
        samples: number of training samples for the Hessian.
        nodes: number of Lanczos steps per random vector.
        repeats: number of random vectors per block.
    """

    samples: int = dataclasses.field(default=8, metadata={"at_least": 1})
    nodes: int = dataclasses.field(default=8, metadata={"at_least": 2})
    repeats: int = dataclasses.field(default=1, metadata={"at_least": 1})

    default: ClassVar[dict[str, int]] = {"times": 2}

    def measure(self, moment: Moment) -> Values:
        """The spectra at the weights of one step."""
        probe = Probe.of(moment, self.samples)
        spectra = {}
        for name, weight in moment.weights.items():
            if weight.ndim >= 2 and weight.numel() > 1:
                product = probe.only([name]).hessian_product
                like = weight.reshape(-1).float()
                spectra[name] = lanczos_spectrum(product, like, nodes=self.nodes, repeats=self.repeats)
        distances = spectrum_distances(spectra)
        values: Values = {}
        if distances:
            values["js_distance", ""] = float(np.mean(list(distances.values())))
        for name, spectrum in spectra.items():
            to_others = [distance for pair, distance in distances.items() if name in pair.split("~")]
            if to_others:
                values["js_distance", name] = float(np.mean(to_others))
            values["largest", name] = float(spectrum.nodes[np.abs(spectrum.nodes).argmax()])
            values["mean", name] = spectrum.mean
            for number, (node, weight_) in enumerate(zip(spectrum.nodes, spectrum.weights, strict=True)):
                values["node", f"{name}#{number}"] = float(node)
                values["weight", f"{name}#{number}"] = float(weight_)
        return values
