"""Do measured gaps follow the theory's three terms, and where does the fit pass zero?

The model ``Delta(B) = c0 + c1 B^(-1/2) + c2 B`` of paper 1 (appendix C) is linear in its coefficients: least squares
over ``c0 >= 0`` and ``c1 >= 0`` (theory's signs, `GapModel`) with ``c2`` free. A measured loss gap is not a bound on a
gradient norm, so the fit tests the form of the dependence on the batch size, not the coefficients.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from suite.theory.bounds import Array
from suite.theory.regimes import GapModel

COVERAGE = 0.9
"""Share of the resampled crossovers that the crossover's interval holds."""

_DRAWS = 400
_SETS = ((0, 1, 2), (0, 2), (1, 2), (2,))
"""Sets of coefficients that a fit may use; the others are held at zero."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GapFit:
    """The three-term model fitted to measured gaps.

    Attributes:
        model: the fitted coefficients.
        batch_sizes: measured batch sizes, ascending.
        gaps: measured gaps.
        r_squared: share of the gaps' (weighted) variance that the fit explains; NaN where they do not vary.
        rms_residual: root of the mean squared residual, in the gaps' unit.
        spare: degrees of freedom left, gaps minus nonzero coefficients; with 0 the fit passes through every gap.
        crossover: batch size where the fit passes from positive to negative; None where it does not.
        interval: bounds of `COVERAGE` of the resampled crossovers; None without noise, or where fewer than that share
            of the resampled fits have a crossover.
        share: share of the resampled fits that have a crossover; NaN where nothing was resampled.
        weighted: whether the gaps' uncertainties were the weights of the fit and the noise of the resampling; otherwise
            the noise is the residuals' spread, drawn from Student's t because few degrees of freedom estimate it.
    """

    model: GapModel
    batch_sizes: tuple[float, ...]
    gaps: tuple[float, ...]
    r_squared: float
    rms_residual: float
    spare: int
    crossover: float | None
    interval: tuple[float, float] | None
    share: float
    weighted: bool

    def sentence(self) -> str:
        """How well the model fits and where it passes zero, in one or two sentences."""
        first, last = self.batch_sizes[0], self.batch_sizes[-1]
        if self.spare == 0:
            quality = f"The three-term model passes through {len(self.gaps)} gaps with as many coefficients: no test."
        else:
            variance = "weighted variance" if self.weighted else "variance"
            if self.r_squared < 0:  # its coefficients have signs, so that it can be worse than the mean
                fits = f"is further from the {len(self.gaps)} gaps than their mean is"
            else:
                fits = f"explains {_percent(self.r_squared)} of the {variance} of {len(self.gaps)} gaps"
            quality = (
                f"The three-term model {fits} (root mean squared residual {self.rms_residual:.2g}, "
                f"{self.spare} degrees of freedom left)."
            )
        if self.crossover is None:
            return f"{quality} It has no crossover from batch size 1 up."
        where = f"batch size {self.crossover:.3g}"
        if self.interval is not None:
            where += f" ({COVERAGE:.0%} interval {self.interval[0]:.3g} to {self.interval[1]:.3g}, {self._noise()})"
        elif not math.isnan(self.share):
            where += f" (only {self.share:.0%} of resampled fits have one)"
        outside = "" if first <= self.crossover <= last else ", outside the measured range"
        return f"{quality} It passes zero at {where}{outside}."

    def _noise(self) -> str:
        if self.weighted:
            return "the gaps' uncertainties taken for standard errors"
        return f"from the residuals, Student's t with {self.spare} degree{'s' if self.spare > 1 else ''} of freedom"


def fit_gap_model(
    batch_sizes: Sequence[float],
    gaps: Sequence[float],
    uncertainties: Sequence[float] | None = None,
    *,
    seed: int = 0,
) -> GapFit:
    """Fit the three-term model to measured gaps.

    The interval of the crossover comes from refitting resampled gaps: the fit plus Gaussian noise of the given
    uncertainties. Without them the noise has the residuals' standard deviation (over the spare degrees of freedom), and
    every draw is rescaled so that the coefficients follow Student's t with those degrees of freedom.

    Args:
        batch_sizes: at least three different batch sizes.
        gaps: measured gaps (positive: SGD better), in any unit; those that are not finite are left out.
        uncertainties: standard errors of the gaps; they weigh the fit. All positive, or None.
        seed: seed of the resampling.

    Raises:
        ValueError: fewer than three batch sizes with a finite gap, or an uncertainty is not positive.
    """
    b, y = np.asarray(batch_sizes, dtype=float), np.asarray(gaps, dtype=float)
    sigma = None if uncertainties is None else np.asarray(uncertainties, dtype=float)
    order = np.argsort(b)
    order = order[np.isfinite(y[order])]
    b, y = b[order], y[order]
    sigma = None if sigma is None else sigma[order]
    if len(np.unique(b)) < 3 or b[0] <= 0:
        raise ValueError(
            f"The three-term model needs finite gaps at three batch sizes or more, got {len(np.unique(b))}; add "
            "batch sizes to the sweep."
        )
    if sigma is not None and not (np.isfinite(sigma) & (sigma > 0)).all():
        raise ValueError("Uncertainties of gaps must be positive numbers; leave them out where they are not known.")
    weight = np.ones_like(y) if sigma is None else 1 / sigma
    coefficients = _least_squares(b, y[None], weight)[0]
    fitted = _basis(b) @ coefficients
    used = int(np.count_nonzero(coefficients[:2])) + 1
    spare = len(y) - used
    mean = np.average(y, weights=weight**2)
    total = float(np.sum((weight * (y - mean)) ** 2))
    model = GapModel(*map(float, coefficients))
    noise = sigma
    if noise is None and spare > 0:
        noise = np.full_like(y, math.sqrt(float(np.sum((y - fitted) ** 2)) / spare))
    interval, share = _resampled(b, fitted, weight, noise, seed, freedom=None if sigma is not None else spare)
    return GapFit(
        model=model,
        batch_sizes=tuple(b.tolist()),
        gaps=tuple(y.tolist()),
        r_squared=1 - float(np.sum((weight * (y - fitted)) ** 2)) / total if total > 0 else math.nan,
        rms_residual=math.sqrt(float(np.mean((y - fitted) ** 2))),
        spare=spare,
        crossover=model.crossover(),
        interval=interval,
        share=share,
        weighted=sigma is not None,
    )


def _basis(b: Array) -> Array:
    return np.stack([np.ones_like(b), b**-0.5, b], axis=1)


def _least_squares(b: Array, gaps: Array, weight: Array) -> Array:
    """Coefficients ``[draws, 3]`` for gaps ``[draws, n]``: of the fits on all sets, the best with admissible signs.

    The problem is convex with two bounds, so its solution is the unconstrained fit on one of the sets.
    """
    basis = _basis(b) * weight[:, None]
    scale = np.linalg.norm(basis, axis=0)
    target = gaps * weight
    best = np.zeros((len(gaps), 3))
    least = np.full(len(gaps), np.inf)
    for chosen in map(list, _SETS):
        scaled = np.zeros((len(gaps), 3))
        scaled[:, chosen] = np.linalg.lstsq(basis[:, chosen] / scale[chosen], target.T, rcond=None)[0].T
        squares = np.sum(np.square(scaled / scale @ basis.T - target), axis=1)
        better = (scaled[:, :2] >= 0).all(axis=1) & (squares < least)
        best[better], least[better] = (scaled / scale)[better], squares[better]
    return best


def _resampled(
    b: Array, fitted: Array, weight: Array, noise: Array | None, seed: int, *, freedom: int | None
) -> tuple[tuple[float, float] | None, float]:
    if noise is None:
        return None, math.nan
    rng = np.random.default_rng(seed)
    drawn = noise * rng.standard_normal((_DRAWS, len(b)))
    if freedom is not None:
        drawn *= np.sqrt(freedom / rng.chisquare(freedom, (_DRAWS, 1)))
    roots = [GapModel(*row).crossover() for row in _least_squares(b, fitted + drawn, weight).tolist()]
    crossovers = [root for root in roots if root is not None]
    share = len(crossovers) / _DRAWS
    if share < COVERAGE:
        return None, share
    low, high = np.quantile(crossovers, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return (float(low), float(high)), share


def _percent(share: float) -> str:
    return "an unknown part" if math.isnan(share) else f"{100 * share:.1f}%"
