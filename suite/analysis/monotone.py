"""The closest monotone sequence to measured values: all that a crossover assumes about the gap."""

from __future__ import annotations

import numpy as np


def monotone_fit(values: np.ndarray, *, falling: bool) -> np.ndarray:
    """The monotone sequence closest to the values in squared distance.

    By the min-max formula of isotonic regression: ``fit_i = max over j <= i of min over k >= i of mean(values[j..k])``.

    Args:
        values: shape ``[..., points]``, finite; every row is fitted by itself.
        falling: whether the sequence may only fall or only rise.

    Returns:
        The same shape.
    """
    signed = -np.asarray(values, dtype=float) if falling else np.asarray(values, dtype=float)
    points = signed.shape[-1]
    sums = np.concatenate([np.zeros((*signed.shape[:-1], 1)), np.cumsum(signed, axis=-1)], axis=-1)
    first, last = np.arange(points)[:, None], np.arange(points)[None, :]
    means = (sums[..., None, 1:] - sums[..., :-1, None]) / np.maximum(last - first + 1, 1)
    lowest = np.where(last >= first, means, np.inf)  # [..., first, last]
    # Lowest mean over ends from k on, then the highest of those over starts up to i.
    lowest = np.minimum.accumulate(lowest[..., ::-1], axis=-1)[..., ::-1]
    lowest = np.where(last >= first, lowest, -np.inf)
    fitted = lowest.max(axis=-2)
    return -fitted if falling else fitted
