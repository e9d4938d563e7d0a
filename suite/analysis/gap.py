"""The gap between two optimizers, and the rules that decide it, which were fixed before any run was looked at.

**Gap.** For one task and batch size: final loss of the reference's tuned point minus that of the
challenger's. The reference is Adam and the challenger SGD wherever a sweep has both, so a positive gap says
that SGD is better, a negative one that Adam is. The relative gap is 100 * gap / |the reference's loss|, in
percent (paper 1, Figure 1); there is none where a loss is zero or the two have different signs. Other sweeps:
every other optimizer challenges Adam, or the first optimizer of the sweep when there is no Adam.

**Tuned point.** The lowest final loss over all settings of the grid. A setting that diverged counts as
+infinity. A point is *on the grid's edge* when the best value of an axis is the smallest or largest of at
least two values that have a result: a better value may lie outside, so such a point is not tuned. An axis
with a single value is *untuned*, which is reported separately. A point whose grid has runs without a result is
*provisional*.

**Seed rule.** The tuned point is chosen on the mean over the seeds that the settings share
(`suite.records.tuning.ranked`); a setting with one diverged seed is not chosen while another is finite. A run counts
once, however often a file or a plan lists it. A sweep may name reporting seeds, the same for all optimizers: the chosen
setting is trained again with them, and they alone give its loss, because a loss that was chosen for being low is low
partly by luck. Without them the luck is estimated (`suite.analysis.surface`), taken off, and the reader is told so.

**Tuned loss.** With several seeds their mean, less the estimated excess of the chosen setting over the best one of the
smooth surface through the grid; with one seed that seed's loss, as in paper 1.

**Verdict.** *Better*, *level*, *leans* or *open*, see `suite.analysis.verdict`; when all settings of one optimizer
diverged and the other has a finite loss, the gap is infinite. Without a result for both there is no gap.

**Seeds needed.** The fewest reporting seeds with which a gap of the measured size would be decided with a chance of
90%, given the spread between seeds. With one seed it is not known.

**Slowdown.** Share of the budget that the better optimizer needs to reach the other's final loss, on the curve that is
compared (`suite.analysis.slowdown`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.tuned import tuned_points
from suite.analysis.verdict import LEVEL, Interval, combined, errors_of_means, holm, seeds_for_power, verdict
from suite.analysis.words import labels_by_name
from suite.records.tuning import MARGIN

BASELINE = "adam"
BASELINES = (BASELINE, "adamw")
CHALLENGER = "sgd"

SERIES = ["task", "reference", "challenger"]
"""Columns that tell the series of a gap table apart; each has a row per batch size."""

COLUMNS = [
    "task", "batch_size", "challenger", "reference",
    "challenger_loss", "reference_loss",
    "gap", "error", "freedom", "uncertainty", "relative_gap", "relative_error", "relative_uncertainty",
    "relative_measured",
    "verdict", "better", "leans", "together", "corrected", "margin", "p",
    "slowdown", "seeds", "seed_spread", "seeds_needed",
    "challenger_setting", "reference_setting", "challenger_edges", "reference_edges", "provisional",
]  # fmt: skip


def pair_optimizers(
    labels: Sequence[str],
    reference: str | None = None,
    challenger: str | None = None,
    titles: Mapping[str, str] = MappingProxyType({}),
) -> list[tuple[str, str]]:
    """Which optimizers are compared, as ``(reference, challenger)`` pairs.

    Args:
        labels: the optimizers of a sweep, in its order.
        reference: what the others are compared with, by its label or title, in any case; by default Adam, else AdamW,
            else the first.
        challenger: the only one to compare; by default all others, SGD first.
        titles: what the sweep's YAML calls its optimizers in figures.

    Raises:
        ValueError: a named optimizer is not in the sweep.
    """
    called = labels_by_name(labels, titles)
    for name in (reference, challenger):
        if name is not None and name.lower() not in called:
            raise ValueError(
                f"Expected an optimizer of this sweep ({', '.join(labels)}), got '{name}'; "
                "change the optimizers to compare."
            )
    reference, challenger = (None if name is None else called[name.lower()] for name in (reference, challenger))
    possible = [label for label in labels if label != challenger]
    if not possible:
        return []
    against = reference or next((label for label in BASELINES if label in possible), possible[0])
    others = [label for label in labels if label != against] if challenger is None else [challenger]
    return [(against, other) for other in sorted(others, key=lambda label: label != CHALLENGER) if other != against]


def gap_table(
    runs: pd.DataFrame,
    *,
    tuned: pd.DataFrame | None = None,
    reference: str | None = None,
    challenger: str | None = None,
    margin: float = MARGIN,
    level: float = LEVEL,
    titles: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """The gap at every batch size, for every task and pair of optimizers in the runs.

    Args:
        runs: one row per run; see `suite.analysis.table`.
        tuned: the tuned points of ``runs`` where they are known already.
        reference: see `pair_optimizers`.
        challenger: see `pair_optimizers`.
        margin: percent of the reference's loss within which the two are level.
        level: confidence that a verdict needs; more than `LEVEL` where verdicts are looked at several times.
        titles: see `pair_optimizers`.

    Returns:
        The columns `COLUMNS`, ordered by task, pair and batch size. Losses, ``gap``, ``error`` (standard error, with
        ``freedom``), ``uncertainty`` (half the 95% interval) and ``seed_spread`` (between the differences by seed) have
        the loss's unit; the relative ones are percent of the reference's loss. ``relative_measured`` is the gap of the
        losses as they were measured, before an excess or luck is taken off. ``verdict`` is a kind of
        `suite.analysis.verdict.Kind` or None without a result; ``better`` and ``leans`` name an optimizer or None;
        ``together`` tells whether a winner holds after correction for the number of batch sizes, ``corrected``; ``p``
        is two-sided.
        ``slowdown`` is to be filled in (`suite.analysis.slowdown`); ``seeds`` counts the results behind the gap, pairs
        where seeds are shared.

    Raises:
        ValueError: a named optimizer is not in the runs.
    """
    points = tuned_points(runs) if tuned is None else tuned
    rows: list[dict[str, Any]] = []
    for task in runs["task"].drop_duplicates():
        labels = list(runs.loc[runs["task"] == task, "optimizer"].drop_duplicates())
        at = points[points["task"] == task].set_index(["optimizer", "batch_size"])
        sizes = sorted({size for _, size in at.index})
        for against, other in pair_optimizers(labels, reference, challenger, titles):
            pairs = [
                _Pair(at.loc[(against, size)], at.loc[(other, size)])
                for size in sizes
                if (against, size) in at.index and (other, size) in at.index
            ]
            rows += [{"task": task, **row} for row in _series(pairs, margin, level)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    # Without this, pandas reads "nobody" as a missing string, and None would come back as NaN.
    for name in ("verdict", "better", "leans"):
        table[name] = pd.Series([row[name] for row in rows], dtype=object)
    return table


class _Pair:
    """Two tuned points at one batch size.

    Args:
        reference: row of a table of tuned points.
        challenger: the other's.

    Attributes:
        differences: of their losses by shared seed, reference less challenger; empty where fewer than two are shared.
        gap: of the tuned losses; inf - inf is NaN: both diverged, nothing to compare.
    """

    def __init__(self, reference: pd.Series, challenger: pd.Series) -> None:
        self.reference, self.challenger = reference, challenger
        losses, others = reference["seed_losses"], challenger["seed_losses"]
        shared = [losses[seed] - others[seed] for seed in losses if seed in others]
        self.differences = np.array(shared if len(shared) > 1 else [])
        self.gap = float(reference["loss"]) - float(challenger["loss"])
        if len(self.differences):
            taken_off = [float(point["mean_loss"] - point["loss"]) for point in (reference, challenger)]
            self.gap = float(self.differences.mean()) - (taken_off[0] - taken_off[1])

    @property
    def measured(self) -> float:
        """The gap of the losses as they were measured, in percent of the reference's."""
        losses, others = (float(point["mean_loss"]) for point in (self.reference, self.challenger))
        gap = float(self.differences.mean()) if len(self.differences) else losses - others
        return gap * _percent_of(losses, others) if math.isfinite(gap) else gap

    @property
    def seeds(self) -> int:
        """Results behind the gap."""
        return len(self.differences) or int(min(self.reference["seeds"], self.challenger["seeds"]))


def _series(pairs: Sequence[_Pair], margin: float, level: float) -> list[dict[str, Any]]:
    """The rows of two optimizers over batch sizes: spreads moderate each other, and verdicts are corrected together."""
    paired = np.array([len(pair.differences) for pair in pairs], dtype=float)
    variances = np.array([pair.differences.var(ddof=1) if len(pair.differences) else math.nan for pair in pairs])
    surface_errors, surface_freedoms = combined(
        *(
            np.array([[float(pair.reference[name]), float(pair.challenger[name])] for pair in pairs]).reshape(-1, 2).T
            for name in ("surface_error", "surface_freedom")
        )
    )
    errors, freedoms, moderated = errors_of_means(variances, np.maximum(paired, 1), surface_errors, surface_freedoms)
    rows = []
    for number, pair in enumerate(pairs):
        error, freedom, spread = errors[number], freedoms[number], math.sqrt(moderated[number])
        if not len(pair.differences):
            points = pair.reference, pair.challenger
            mean_errors, mean_freedoms = ([float(point[name]) for point in points] for name in ("error", "freedom"))
            error, freedom = math.nan, 0.0
            if min(mean_freedoms) > 0:
                error, freedom = combined(np.array(mean_errors), np.array(mean_freedoms))
            spread = math.hypot(*(float(point["seed_spread"]) for point in points))
        interval = Interval(estimate=pair.gap, error=float(error), freedom=float(freedom))
        rows.append(
            _row(pair, interval, margin, level)
            | {
                "seed_spread": spread if math.isfinite(pair.gap) else math.nan,
                "seeds_needed": seeds_for_power(
                    pair.gap,
                    spread,
                    surface_error=float(surface_errors[number]),
                    margin=_margin(pair, margin),
                    sizes=len(pairs),
                ),
            }
        )
    held = holm(np.array([row["p"] for row in rows], dtype=float), level)
    for row, holds in zip(rows, held, strict=True):
        row |= {"together": bool(holds) and row["better"] is not None, "corrected": len(rows)}
    return rows


def _row(pair: _Pair, interval: Interval, margin: float, level: float) -> dict[str, Any]:
    reference, challenger, gap = pair.reference, pair.challenger, pair.gap
    labels = reference.name[0], challenger.name[0]
    edges = bool(reference["edges"]), bool(challenger["edges"])
    said = verdict(interval, pair=labels, margin=_margin(pair, margin), seeds=pair.seeds, edges=edges, level=level)
    kind = None if math.isnan(gap) else said.kind
    scale = _percent_of(float(reference["loss"]), float(challenger["loss"]))
    half = interval.half_width() if math.isfinite(gap) else math.nan
    p = interval.p if math.isfinite(gap) else 0.0 if math.isinf(gap) else math.nan
    return {
        "batch_size": reference.name[1],
        "challenger": labels[1],
        "reference": labels[0],
        "challenger_loss": challenger["loss"],
        "reference_loss": reference["loss"],
        "gap": gap,
        "error": interval.error if math.isfinite(gap) else math.nan,
        "freedom": interval.freedom,
        "uncertainty": half,
        "relative_gap": gap * scale if math.isfinite(gap) else gap,
        "relative_error": abs(interval.error * scale) if math.isfinite(gap) else math.nan,
        "relative_uncertainty": abs(half * scale),
        "relative_measured": pair.measured,
        "verdict": kind,
        "better": said.ahead if kind == "better" else None,
        "leans": said.ahead if kind == "leans" else None,
        "margin": margin,
        "p": p if pair.seeds > 1 else math.nan,
        "slowdown": math.nan,
        "seeds": pair.seeds,
        "challenger_setting": challenger["setting"],
        "reference_setting": reference["setting"],
        "challenger_edges": challenger["edges"],
        "reference_edges": reference["edges"],
        "provisional": bool(reference["provisional"] or challenger["provisional"]),
    }


def _percent_of(reference: float, challenger: float) -> float:
    """What a gap is multiplied with to be in percent of the reference's loss; NaN where that means nothing."""
    shares_side = reference * challenger > 0 or math.isinf(challenger)
    return 100 / abs(reference) if reference != 0 and shares_side else math.nan


def _margin(pair: _Pair, percent: float) -> float:
    """A margin in the unit of the loss."""
    return percent / 100 * abs(float(pair.reference["loss"]))


def on_edge(gaps: pd.DataFrame) -> np.ndarray:
    """Which gaps rest on a tuned point at the edge of its grid, bool ``[rows]``."""
    return ((gaps["challenger_edges"].map(len) + gaps["reference_edges"].map(len)) > 0).to_numpy()
