"""A sweep that goes on until there is a verdict: what is undecided, and what a verdict needs at one of several looks.

The rule stands in `suite.sweep.until`; here it is read from the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from suite.analysis.comparison import Comparison
from suite.analysis.gap import on_edge
from suite.analysis.verdict import seeds_for_power


def undecided(comparison: Comparison, plan: Mapping[str, Any]) -> set[tuple[str, int]]:
    """Panels and batch sizes at which more reporting seeds may decide a verdict.

    A verdict that waits for runs without a result, or for a grid that goes past its edge, is not helped by seeds; nor
    is one where no number of seeds would decide any gap of today's interval, because what the settings' choice costs
    is known too badly.
    """
    gaps = comparison.gaps
    open_ones = gaps[gaps["verdict"].isin(["leans", "open"]) & ~gaps["provisional"] & ~on_edge(gaps)]
    errors = comparison.tuned.set_index(["task", "optimizer", "batch_size"])["surface_error"]
    has_panels = bool(plan.get("panels"))
    return {
        (str(row["task"]) if has_panels else "", int(row["batch_size"]))
        for _, row in open_ones.iterrows()
        if _seeds_may_decide(row, errors, comparison.margin)
    }


def _seeds_may_decide(row: pd.Series, surface_errors: pd.Series, margin: float) -> bool:
    """Whether some number of seeds would decide the farthest or the nearest gap of a row's interval."""
    sides = ("reference", "challenger")
    error = math.hypot(*(surface_errors[row["task"], row[side], row["batch_size"]] for side in sides))
    gap, half = abs(row["gap"]), row["uncertainty"]
    if not math.isfinite(gap + half + error):
        return True
    within = margin / 100 * abs(row["reference_loss"])
    needs = [
        seeds_for_power(possible, row["seed_spread"], surface_error=error, margin=within)
        for possible in (gap + half, max(0.0, gap - half))
    ]
    return not all(map(math.isinf, needs))
