"""The closest monotone sequence to measured values: all that a crossover assumes about the gap."""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression


def monotone_fit(values: np.ndarray, *, falling: bool) -> np.ndarray:
    """The monotone sequence closest to the values in squared distance.

    Args:
        values: shape ``[..., points]``, finite; every row is fitted by itself.
        falling: whether the sequence may only fall or only rise.

    Returns:
        The same shape.
    """
    return np.apply_along_axis(lambda row: isotonic_regression(row, increasing=not falling).x, -1, values)
