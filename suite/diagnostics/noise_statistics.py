"""Statistics of gradient noise from gradients of few samples: moments, noise scale, tail index, expected signs."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from suite.optim.norms import norm_of


class NoiseStatistics:
    r"""Mean, variance and noise norms from independent gradients of ``size`` samples each.

    Gradients are added in pairs :math:`(a, b)`. Half of :math:`(a - b)^2` is an unbiased estimate of each coordinate's
    variance that needs no mean, and the norms of :math:`(a - b) / \sqrt 2` have the tail index of the noise norms.

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
    """Quantiles of a vector, by name such as ``0.5``; a long vector is sampled at evenly spaced coordinates."""
    some = values[:: max(1, len(values) // MOST_SORTED)][:MOST_SORTED]
    values_at = torch.quantile(some, torch.tensor(QUANTILES, dtype=some.dtype, device=some.device))
    return {f"{share:g}": value for share, value in zip(QUANTILES, values_at, strict=True)}


@dataclasses.dataclass(frozen=True)
class NoiseScale:
    r"""The trace of the noise's covariance and the squared norm of the gradient.

    Attributes:
        trace: :math:`\mathrm{tr}\,\Sigma` of one sample's gradient.
        signal: unbiased estimate of :math:`\lVert G \rVert^2`; it may be negative if the noise is much larger.
    """

    trace: Tensor
    signal: Tensor

    @property
    def simple(self) -> Tensor:
        r"""Simple noise scale :math:`\mathrm{tr}\,\Sigma / \lVert G \rVert^2`, about the critical batch size, samples.

        NaN if the estimate of the signal is not positive.
        """
        return torch.where(self.signal > 0, self.trace / self.signal, math.nan)


def scale_of(statistics: NoiseStatistics, piece: slice = slice(None)) -> NoiseScale:
    r"""Noise scale of the coordinates in ``piece``, with unbiased estimates of trace and signal.

    The trace is the two-batch estimator of McCandlish et al. 2018, appendix A.1, with the pairs as big batches,

    .. math::
        \mathrm{tr}\,\Sigma \approx
        \frac{\lvert G_{small} \rvert^2 - \lvert G_{big} \rvert^2}{1 / B_{small} - 1 / B_{big}}, \quad
        B_{big} = 2 B_{small};

    the signal is the squared norm of the mean over all gradients, minus the noise's expected share in it.
    """
    trace = statistics.variance[piece].sum()
    samples = statistics.count * statistics.size
    return NoiseScale(trace, statistics.mean[piece].square().sum() - trace / samples)


def hill_tail_index(values: Tensor, share: float = 0.1) -> tuple[float, int]:
    r"""Hill's estimator of the index :math:`\alpha` in :math:`P(X > x) \sim x^{-\alpha}` (Hill 1975).

    .. math:: \hat\alpha = k \Big/ \sum_{i=1}^k \ln \frac{x_{(i)}}{x_{(k+1)}}

    over the ``k`` largest values. The result is :math:`\hat\alpha (k - 1) / k`, which is unbiased for an exact Pareto
    law, with a relative standard error of :math:`1 / \sqrt{k - 2}`. For other heavy tails the body of the law biases
    it: it is about 2.5 for a Student t of 3 degrees of freedom at a tenth of the values. Light tails have no index; for
    the norm of a Gaussian in many dimensions the result is far above 10. Below 2 the variance is infinite.

    Args:
        values: positive values, ``[n]``.
        share: share of the largest values that count as the tail.

    Returns:
        The index (NaN with fewer than four values), and ``k``.
    """
    ordered = values.double().flatten().sort(descending=True).values
    k = min(max(3, round(share * len(ordered))), len(ordered) - 1)
    if k < 3 or not bool((ordered[k] > 0) & ordered.isfinite().all()):
        return math.nan, max(k, 0)
    total = float((ordered[:k] / ordered[k]).log().sum())
    return ((k - 1) / total if total > 0 else math.inf), k


def expected_sign(gradient: Tensor, noise: Tensor, batch_size: float) -> Tensor:
    r"""Mean sign of a noisy gradient, :math:`\mathrm{erf}(\sqrt{B/2}\; g / \sigma)` per coordinate.

    This is `suite.theory.sde.expected_sign` for tensors.

    Args:
        gradient: true gradient.
        noise: standard deviation of one sample's gradient, of the same shape; where it is 0, the result is the sign.
        batch_size: the batch size ``B``, samples.
    """
    is_noisy = noise > 0
    mean = torch.erf(math.sqrt(batch_size / 2) * gradient / torch.where(is_noisy, noise, 1.0))
    return torch.where(is_noisy, mean, gradient.sign())


def sign_progress(reference: Tensor, direction: Tensor) -> Tensor:
    r"""First-order loss decrease along a direction, as a share of the decrease along the true sign, 0-d.

    It is :math:`g^\top e / \lVert g \rVert_1`, and 1 if the direction is the sign of the reference.

    Args:
        reference: gradient ``g``, independent of the direction's noise, ``[P]``.
        direction: a sign or a mean sign ``e``, ``[P]``.
    """
    return torch.dot(reference, direction) / reference.abs().sum()
