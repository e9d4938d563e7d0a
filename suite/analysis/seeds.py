"""How many seeds a claim needs: the fewest with which the sign of a gap could be told at the measured spread."""

from __future__ import annotations

import math

from scipy.special import stdtrit

CONFIDENCE = 0.95
"""Two-sided confidence of a claimed sign."""

MOST_SEEDS = 1000


def seeds_needed(gap: float, reference_spread: float, challenger_spread: float) -> float:
    """Fewest seeds per optimizer with which a gap of this size excludes zero.

    A two-sample t interval of level `CONFIDENCE`: the smallest n from 2 up with
    ``t(n) * sqrt((s_ref^2 + s_cha^2) / n) < |gap|``, where t(n) is the two-sided quantile at 2 (n - 1) degrees of
    freedom (the two spreads taken as equal in the degrees of freedom). The spread is that between seeds at a fixed
    setting; no number of seeds removes the error of a coarse grid.

    Args:
        gap: difference of the tuned losses.
        reference_spread: standard deviation over seeds of the reference.
        challenger_spread: the same of the challenger.

    Returns:
        A whole number from 2 up; infinity above `MOST_SEEDS`; NaN where the gap or a spread is not known.
    """
    variance = reference_spread**2 + challenger_spread**2
    if math.isnan(gap) or math.isnan(variance):
        return math.nan
    for seeds in range(2, MOST_SEEDS + 1):
        quantile = float(stdtrit(2 * (seeds - 1), (1 + CONFIDENCE) / 2))
        if quantile * math.sqrt(variance / seeds) < abs(gap):
            return float(seeds)
    return math.inf
