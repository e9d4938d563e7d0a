"""The theory's three-term model beside measured gaps: does their form over batch size follow it?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from suite.analysis.gap import BASELINE, CHALLENGER
from suite.theory.gap_fit import GapFit, fit_gap_model

LEAST_POINTS = 4
"""Smallest number of batch sizes that is fitted: the model's three terms would fit nearly any three gaps."""


def theory_fit(gaps: pd.DataFrame) -> GapFit | None:
    """The model fitted to the absolute gap of SGD against Adam on one task, the pair that the theory is about.

    Args:
        gaps: gap table of one task.

    Returns:
        The fit, weighted by the standard errors where all are known; None with fewer than `LEAST_POINTS` finite gaps.
    """
    pair = gaps[(gaps["reference"] == BASELINE) & (gaps["challenger"] == CHALLENGER)]
    finite = pair[np.isfinite(pair["gap"].to_numpy(dtype=float))]
    if len(finite) < LEAST_POINTS:
        return None
    bounds = finite["error"].to_numpy(dtype=float)
    weighted = bool((np.isfinite(bounds) & (bounds > 0)).all())
    return fit_gap_model(finite["batch_size"].to_list(), finite["gap"].to_list(), bounds.tolist() if weighted else None)
