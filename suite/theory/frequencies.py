"""How frequent are the words of a Zipf language?"""

from __future__ import annotations

import numpy as np

from suite.theory.bounds import Array


def zipf(vocab_size: int, exponent: float) -> Array:
    r"""Frequencies :math:`\pi_k = k^{-\alpha} / \sum_j j^{-\alpha}`, descending, ``[vocab_size]``."""
    weights = np.arange(1, vocab_size + 1, dtype=float) ** -exponent
    return weights / weights.sum()
