"""How well the crossover is known: the spread of its two estimates when the gaps move within their uncertainty."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from suite.analysis.monotone import monotone_fit
from suite.analysis.verdict import LEVEL

DRAWS = 2000

Interval = tuple[float, float]
"""Two batch sizes; 0 and infinity stand for a zero outside the measured range (for the line, by over an octave)."""


def crossover_intervals(gaps: pd.DataFrame, *, falling: bool) -> tuple[Interval | None, Interval | None]:
    """Intervals of the line's zero and of the monotone fit's.

    Every gap is drawn anew around its estimate by Student's t with its error, `DRAWS` times with a fixed seed, and both
    estimates are made of each draw; a draw without a zero in range counts as one beyond the end at which the winner is
    missing. The ends are quantiles, so an interval may be open (0 or infinity).

    Args:
        gaps: rows of a gap table with a finite gap, ascending in batch size.
        falling: direction of the monotone fit.

    Returns:
        Interval of the line, interval of the monotone fit; None where an error is not known.
    """
    drawn = drawn_zeros(gaps, falling=falling)
    return (None, None) if drawn is None else (_quantiles(drawn[0]), _quantiles(drawn[1]))


def drawn_zeros(gaps: pd.DataFrame, *, falling: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
    """The zeros of both estimates in every draw, in log2 of the batch size, each of shape ``[DRAWS]``.

    Args:
        gaps: see `crossover_intervals`.
        falling: likewise.
        seed: of the draws; those of several crossovers are independent with different ones.

    Returns:
        Those of the line and of the monotone fit; None where an error is not known.
    """
    names = ("relative_gap", "relative_error", "freedom", "batch_size")
    values, errors, freedoms, sizes = (gaps[name].to_numpy(dtype=float) for name in names)
    if not (np.isfinite(errors) & (freedoms > 0)).all():
        return None
    rng = np.random.default_rng(seed)
    drawn = values + errors * rng.standard_t(freedoms, (DRAWS, len(values)))
    log_sizes = np.log2(sizes)
    lines = line_zeros(log_sizes, drawn, errors if (errors > 0).all() else np.ones_like(errors))
    return lines, monotone_zeros(log_sizes, drawn, falling=falling)


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


def line_zeros(log_sizes: np.ndarray, gaps: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Where the weighted least-squares lines of many sets of gaps are zero; arguments and result as `monotone_zeros`.

    -inf or inf where that is over one octave outside the data.

    Args:
        log_sizes: as there.
        gaps: as there.
        errors: standard errors of the gaps, shape ``[points]``.
    """
    slopes, intercepts = np.polyfit(log_sizes, gaps.T, 1, w=1 / errors)
    with np.errstate(invalid="ignore", divide="ignore"):
        zeros = np.where(slopes == 0, math.inf, -intercepts / slopes)
    zeros = np.where(zeros < log_sizes[0] - 1, -math.inf, zeros)
    return np.where(zeros > log_sizes[-1] + 1, math.inf, zeros)


def _quantiles(zeros: np.ndarray) -> Interval:
    ends = np.quantile(zeros, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return float(2.0 ** ends[0]), float(2.0 ** ends[1])
