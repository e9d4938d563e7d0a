"""Which power-law spectra put a quadratic into Regime I (sign descent wins at large batch sizes), which into Regime II?

Setting of paper 1, section 5.3: ``f(x) = x' H x / 2`` with diagonal ``H`` and eigenvalues ``i^(-p)``, ``i = 1 .. d``.
Then ``L_2 = 1`` and ``L_inf`` is the sum of the eigenvalues.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

LIMIT_EXPONENT = 2 / 3
"""Limit of the threshold as the dimension grows: below it ``r`` grows faster than ``d^(1/3)``."""


def smoothness_ratio(dimension: int, exponent: float) -> float:
    r""":math:`r(d, p) = L_\infty / L_2 = \sum_{i=1}^d i^{-p}`."""
    return float(np.sum(np.arange(1, dimension + 1, dtype=float) ** -exponent))


def threshold_exponent(dimension: int) -> float:
    """Exponent at which ``r(d, p) = d^(1/3)``: smaller exponents are in Regime II, larger ones in Regime I.

    It falls to 2/3 as the dimension grows, slowly: 0.91 at a thousand, 0.77 at a million.

    Args:
        dimension: ``d``, at least 2.

    Raises:
        ValueError: the dimension is too small for two regimes.
    """
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2 for a spectrum, got {dimension}.")
    return float(brentq(lambda p: smoothness_ratio(dimension, p) - dimension ** (1 / 3), 0.0, 64.0, xtol=1e-10))
