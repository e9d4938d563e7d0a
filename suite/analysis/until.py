"""A sweep that goes on until there is a verdict: what is undecided, and what a verdict needs at one of several looks.

The rule stands in `suite.sweep.until`; here it is read from the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suite.analysis.comparison import Comparison
from suite.analysis.gap import on_edge


def undecided(comparison: Comparison, plan: Mapping[str, Any]) -> set[tuple[str, int]]:
    """Panels and batch sizes at which more reporting seeds may decide a verdict.

    A verdict that waits for runs without a result, or for a grid that goes past its edge, is not helped by seeds.
    """
    gaps = comparison.gaps
    open_ones = gaps[gaps["verdict"].isin(["leans", "open"]) & ~gaps["provisional"] & ~on_edge(gaps)]
    has_panels = bool(plan.get("panels"))
    return {
        (str(task) if has_panels else "", int(size))
        for task, size in zip(open_ones["task"], open_ones["batch_size"], strict=True)
    }
