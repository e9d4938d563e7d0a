"""How well the crossover is known: the spread of its two estimates when the gaps move within their uncertainty."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from suite.analysis.monotone import monotone_fit
from suite.analysis.words import LEVEL

DRAWS = 2000
_SEED = 0

Interval = tuple[float, float]
"""Two batch sizes; 0 and infinity stand for a zero outside the measured range (for the line, by over an octave)."""


def crossover_intervals(gaps: pd.DataFrame, *, falling: bool) -> tuple[Interval | None, Interval | None]:
    """Intervals of the line's zero and of the monotone fit's.

    Every gap is drawn anew from a normal distribution with its uncertainty as standard deviation, `DRAWS` times with a
    fixed seed, and both estimates are computed from each draw. A fit of one sign counts as a zero beyond the end at
    which it is nearest to zero. The ends are quantiles, so an interval may be open (0 or infinity).

    Args:
        gaps: rows of a gap table whose gap is known, ascending in batch size.
        falling: direction of the monotone fit.

    Returns:
        Interval of the line, interval of the monotone fit; None with fewer than two finite gaps or where an
        uncertainty is not known.
    """
    finite = gaps[np.isfinite(gaps["relative_gap"].to_numpy(dtype=float))]
    values = finite["relative_gap"].to_numpy(dtype=float)
    spread = finite["relative_uncertainty"].to_numpy(dtype=float)
    if len(finite) < 2 or not np.isfinite(spread).all():
        return None, None
    log_sizes = np.log2(finite["batch_size"].to_numpy(dtype=float))
    drawn = values + spread * np.random.default_rng(_SEED).standard_normal((DRAWS, len(values)))
    return _quantiles(line_zeros(log_sizes, drawn)), _quantiles(monotone_zeros(log_sizes, drawn, falling=falling))


def monotone_zeros(log_sizes: np.ndarray, gaps: np.ndarray, *, falling: bool) -> np.ndarray:
    """Where the monotone fits of many sets of gaps pass zero, in log2 of the batch size.

    Args:
        log_sizes: log2 of the batch sizes, shape ``[points]``, ascending.
        gaps: shape ``[sets, points]``.
        falling: direction of the fits.

    Returns:
        Shape ``[sets]``; straight pieces between the points, -inf or inf where a fit has one sign.
    """
    fitted = monotone_fit(gaps, falling=falling)
    positive = fitted > 0
    change = positive[:, :-1] != positive[:, 1:]
    left = np.argmax(change, axis=1)
    rows = np.arange(len(fitted))
    first, second = fitted[rows, left], fitted[rows, left + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = log_sizes[left] + first / (first - second) * (log_sizes[left + 1] - log_sizes[left])
    beyond = np.where(positive[:, 0] == falling, math.inf, -math.inf)
    return np.where(change.any(axis=1), inside, beyond)


def line_zeros(log_sizes: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Where the least-squares lines of many sets of gaps are zero; arguments and result are as in `monotone_zeros`.

    A zero more than one octave outside the data is -inf or inf.
    """
    slopes, intercepts = np.polyfit(log_sizes, gaps.T, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        zeros = np.where(slopes == 0, math.inf, -intercepts / slopes)
    zeros = np.where(zeros < log_sizes[0] - 1, -math.inf, zeros)
    return np.where(zeros > log_sizes[-1] + 1, math.inf, zeros)


def _quantiles(zeros: np.ndarray) -> Interval:
    ends = np.quantile(zeros, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return float(2.0 ** ends[0]), float(2.0 ** ends[1])
