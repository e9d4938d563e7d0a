"""The gap between two optimizers, and the rules that decide it, which were fixed before any run was looked at.

**Gap.** For one task and batch size: final loss of the reference's tuned point minus that of the
challenger's. The reference is Adam and the challenger SGD wherever a sweep has both, so a positive gap says
that SGD is better, a negative one that Adam is. The relative gap is 100 * gap / the reference's loss, in
percent (paper 1, Figure 1). Other sweeps: every other optimizer challenges Adam, or the first optimizer of
the sweep when there is no Adam.

**Tuned point.** The lowest final loss over all settings of the grid. A setting that diverged counts as
+infinity. A point is *on the grid's edge* when the best value of an axis is the smallest or largest of at
least two values that have a result: a better value may lie outside, so such a point is not tuned. An axis
with a single value is *untuned*, which is reported separately. A point whose grid has runs without a result is
*provisional*.

**Seed rule.** The tuned point is chosen on the mean over the seeds that the settings share
(`suite.records.tuning.ranked`); a setting with one diverged seed is not chosen while another is finite. A run counts
once, however often a file or a plan lists it. A sweep may name
reporting seeds: the chosen setting is trained again with them, and they alone give its loss, because a loss that
was chosen for being low is low partly by luck. Without reporting seeds the report says so.

**Uncertainty.** Of one tuned point, two parts added in quadrature. From the runs: the standard error over
seeds, or with one seed the minibatch noise left in the final loss (`suite.analysis.curves.final_noise`),
which does not cover the spread between seeds. From the grid: half the difference to the best neighbour on
the grid. Of the gap: both points' in quadrature. Paper 1 has one seed and states none.

**Decision rule.** An optimizer is called better only when the gap exceeds its uncertainty; otherwise the
gap is *not resolved*. When all settings of one optimizer diverged and the other has a finite loss, the
other is better and the gap infinite. Without a result for both there is no gap.

**Seeds needed.** The fewest seeds per optimizer with which a gap of the measured size would exclude zero at
95% (`suite.analysis.seeds`), given the spread between seeds near the tuned points. With one seed it is not known.

**Slowdown.** Share of the budget that the better optimizer needs to reach the other's final loss, on the curve that is
compared (`suite.analysis.slowdown`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.curves import LossReader, mean_ema, slowdown
from suite.analysis.seeds import seeds_needed
from suite.analysis.tuned import tuned_points

BASELINE = "adam"
CHALLENGER = "sgd"

SERIES = ["task", "reference", "challenger"]
"""Columns that tell the series of a gap table apart; each has a row per batch size."""

COLUMNS = [
    "task", "batch_size", "challenger", "reference",
    "challenger_loss", "reference_loss",
    "gap", "relative_gap", "uncertainty", "relative_uncertainty", "resolved", "better",
    "slowdown", "seeds", "seeds_needed",
    "challenger_setting", "reference_setting", "challenger_edges", "reference_edges", "provisional",
]  # fmt: skip


def pair_optimizers(
    labels: Sequence[str], reference: str | None = None, challenger: str | None = None
) -> list[tuple[str, str]]:
    """Which optimizers are compared, as ``(reference, challenger)`` pairs.

    Args:
        labels: the optimizers of a sweep, in its order.
        reference: what the others are compared with; by default Adam, else the first.
        challenger: the only one to compare; by default all others, SGD first.

    Raises:
        ValueError: a named optimizer is not in the sweep.
    """
    for name in (reference, challenger):
        if name is not None and name not in labels:
            raise ValueError(
                f"Expected an optimizer of this sweep ({', '.join(labels)}), got '{name}'; "
                "change the optimizers to compare."
            )
    possible = [label for label in labels if label != challenger]
    if not possible:
        return []
    against = reference or (BASELINE if BASELINE in possible else possible[0])
    others = [label for label in labels if label != against] if challenger is None else [challenger]
    return [(against, other) for other in sorted(others, key=lambda label: label != CHALLENGER) if other != against]


def gap_table(
    runs: pd.DataFrame,
    losses: LossReader | None = None,
    *,
    tuned: pd.DataFrame | None = None,
    reference: str | None = None,
    challenger: str | None = None,
) -> pd.DataFrame:
    """The gap at every batch size, for every task and pair of optimizers in the runs.

    Args:
        runs: one row per run; see `suite.analysis.table`.
        losses: reads the curves of the tuned points; without it there is no slowdown.
        tuned: the tuned points of ``runs`` where they are known already.
        reference: see `pair_optimizers`.
        challenger: see `pair_optimizers`.

    Returns:
        The columns `COLUMNS`, ordered by task, pair and batch size. Losses, ``gap`` and ``uncertainty``
        have the loss's unit; ``relative_gap`` and its uncertainty are percent; ``slowdown`` is a share of
        the budget; ``seeds`` is the smaller number of results behind the two losses.

    Raises:
        ValueError: a named optimizer is not in the runs.
    """
    points = tuned_points(runs, losses) if tuned is None else tuned
    rows = []
    for task in runs["task"].drop_duplicates():
        labels = list(runs.loc[runs["task"] == task, "optimizer"].drop_duplicates())
        at = points[points["task"] == task].set_index(["optimizer", "batch_size"])
        sizes = sorted({size for _, size in at.index})
        for (against, other), size in itertools.product(pair_optimizers(labels, reference, challenger), sizes):
            if (against, size) in at.index and (other, size) in at.index:
                row = _gap_row(at.loc[(against, size)], at.loc[(other, size)], losses)
                rows.append({"task": task, "batch_size": size, "challenger": other, "reference": against, **row})
    table = pd.DataFrame(rows, columns=COLUMNS)
    # Without this, pandas reads "nobody" as a missing string, and None would come back as NaN.
    table["better"] = pd.Series([row["better"] for row in rows], dtype=object)
    return table


def _gap_row(reference: pd.Series, challenger: pd.Series, losses: LossReader | None) -> dict[str, Any]:
    gap = float(reference["loss"]) - float(challenger["loss"])  # inf - inf is NaN: both diverged, nothing to compare
    uncertainty = math.hypot(reference["uncertainty"], challenger["uncertainty"])
    resolved = math.isinf(gap) or (math.isfinite(uncertainty) and abs(gap) > uncertainty)
    better = (challenger.name if gap > 0 else reference.name)[0] if resolved else None
    scale = 100 / reference["loss"] if reference["loss"] != 0 else math.nan
    return {
        "challenger_loss": challenger["loss"],
        "reference_loss": reference["loss"],
        "gap": gap,
        "relative_gap": gap * scale if math.isfinite(gap) else gap,
        "uncertainty": uncertainty,
        "relative_uncertainty": abs(uncertainty * scale),
        "resolved": resolved,
        "better": better,
        "slowdown": _slowdown(reference, challenger, gap, losses),
        "seeds": int(min(reference["seeds"], challenger["seeds"])),
        "seeds_needed": seeds_needed(gap, reference["seed_spread"], challenger["seed_spread"]),
        "challenger_setting": challenger["setting"],
        "reference_setting": reference["setting"],
        "challenger_edges": challenger["edges"],
        "reference_edges": reference["edges"],
        "provisional": bool(reference["provisional"] or challenger["provisional"]),
    }


def _slowdown(reference: pd.Series, challenger: pd.Series, gap: float, losses: LossReader | None) -> float:
    if losses is None or not math.isfinite(gap):
        return math.nan
    better, other = (challenger, reference) if gap > 0 else (reference, challenger)
    curves = mean_ema(better["run_ids"], losses), mean_ema(other["run_ids"], losses)
    return math.nan if curves[0] is None or curves[1] is None else slowdown(curves[0], curves[1])


def on_edge(gaps: pd.DataFrame) -> np.ndarray:
    """Which gaps rest on a tuned point at the edge of its grid, bool ``[rows]``."""
    return ((gaps["challenger_edges"].map(len) + gaps["reference_edges"].map(len)) > 0).to_numpy()
