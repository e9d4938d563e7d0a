"""Mean, variance and norms of many gradients that arrive one by one."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from suite.optim.norms import norm_of


class NoiseStatistics:
    r"""What independent gradients of ``size`` samples each say about the noise.

    Gradients come in pairs :math:`(a, b)`: half of :math:`(a - b)^2` is an unbiased estimate of each coordinate's
    variance that needs no mean, and the norms of :math:`(a - b) / \sqrt 2` fall off with the index of the noise norms.

    Args:
        size: samples per gradient.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.norms: list[Tensor] = []
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add two gradients, ``[P]`` each."""
        difference = (first - second) / math.sqrt(2)
        self.norms.append(norm_of(difference))
        square = difference.square()
        self._sum = first + second if self._sum is None else self._sum.add_(first).add_(second)
        self._squares = square if self._squares is None else self._squares.add_(square)
        self.count += 2

    @property
    def mean(self) -> Tensor:
        """Mean gradient, ``[P]``."""
        assert self._sum is not None
        return self._sum / self.count

    @property
    def variance(self) -> Tensor:
        """Variance of one sample's gradient by coordinate, ``[P]``."""
        assert self._squares is not None
        return self._squares * (self.size / (self.count / 2))


QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
MOST_SORTED = 1_000_000


def quantiles(values: Tensor) -> dict[str, Tensor]:
    """Quantiles of a vector, by name such as ``0.5``; of evenly spaced coordinates where there are very many."""
    some = values[:: max(1, len(values) // MOST_SORTED)][:MOST_SORTED]
    values_at = torch.quantile(some, torch.tensor(QUANTILES, dtype=some.dtype, device=some.device))
    return {f"{share:g}": value for share, value in zip(QUANTILES, values_at, strict=True)}


@dataclasses.dataclass(frozen=True)
class NoiseScale:
    r"""Trace of the noise's covariance against the squared gradient.

    Attributes:
        trace: :math:`\mathrm{tr}\,\Sigma`, of one sample's gradient.
        signal: :math:`\lVert G \rVert^2`, unbiased, so that it may come out negative where noise drowns it.
    """

    trace: Tensor
    signal: Tensor

    @property
    def simple(self) -> Tensor:
        r"""Simple noise scale :math:`\mathrm{tr}\,\Sigma / \lVert G \rVert^2`, a batch size: the critical one, about.

        NaN where the signal is not resolved.
        """
        return torch.where(self.signal > 0, self.trace / self.signal, math.nan)


def scale_of(statistics: NoiseStatistics, piece: slice = slice(None)) -> NoiseScale:
    r"""Noise scale of some coordinates, unbiased in both parts.

    The trace is the two-batch estimator of McCandlish et al. 2018, appendix A.1, with the pairs as big batches,

    .. math::
        \mathrm{tr}\,\Sigma \approx
        \frac{\lvert G_{small} \rvert^2 - \lvert G_{big} \rvert^2}{1 / B_{small} - 1 / B_{big}}, \quad
        B_{big} = 2 B_{small};

    the signal is the square of the mean over all gradients, less the part of the trace that is left in it.
    """
    trace = statistics.variance[piece].sum()
    samples = statistics.count * statistics.size
    return NoiseScale(trace, statistics.mean[piece].square().sum() - trace / samples)
