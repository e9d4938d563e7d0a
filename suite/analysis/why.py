"""What was measured inside the runs, beside the gap: one row per task and batch size, and their correlations.

These definitions were fixed before any run was looked at. Every measure of a row is taken from the tuned runs of both
optimizers: it is reduced over the steps as `MEASURES` says, then averaged over the two, geometrically where it spans
decades. A correlation of a measure with the crossover has one pair of values per task, so that a handful of tasks shows
little; what chance alone would give is always reported beside it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from suite.analysis.comparison import Comparison
from suite.analysis.crossover import Crossover
from suite.analysis.diagnosed import DiagnosticReader, chosen, diagnosed_points, group_gaps, reduced
from suite.analysis.gap import SERIES
from suite.analysis.rank_correlation import RankCorrelation, rank_correlation
from suite.theory.bounds import Problem
from suite.theory.regimes import gap_model


@dataclasses.dataclass(frozen=True)
class Measure:
    """How a column comes from what was measured.

    Attributes:
        diagnostic: name of the diagnostic.
        quantity: its quantity, of the whole network.
        at: ``first`` step (the network as it starts), ``last`` (as it ends) or the ``median`` over steps.
        log: whether the mean over the two optimizers is geometric.
    """

    diagnostic: str
    quantity: str
    at: str
    log: bool = True


MEASURES: dict[str, Measure] = {
    "r": Measure("smoothness", "r", "median"),
    "threshold": Measure("smoothness", "threshold", "first"),
    "l2": Measure("smoothness", "l2", "median"),
    "linf": Measure("smoothness", "linf", "median"),
    "noise_scale": Measure("noise", "noise_scale", "median"),
    "noise_trace": Measure("noise", "trace", "median"),
    "tail_index": Measure("noise", "tail_index", "median", log=False),
    "js_distance": Measure("spectra", "js_distance", "first", log=False),
    "js_distance_end": Measure("spectra", "js_distance", "last", log=False),
}

CORRELATED = {
    "r": ("r = L\N{INFINITY} / L\N{SUBSCRIPT TWO}", True),
    "noise_scale": ("simple noise scale (samples)", True),
    "tail_index": ("tail index of the noise", False),
    "frequency_gap": ("gap on rare less on frequent", False),
    "js_distance": ("JS distance of blocks, at the start", False),
    "js_distance_end": ("JS distance of blocks, at the end", False),
    "predicted_crossover": ("crossover that theory predicts", True),
}
"""Columns that are set against gap and crossover: what the axis of each is called, and whether it is logarithmic."""

AT_START = {name for name, measure in MEASURES.items() if measure.at == "first"}
"""Columns that are measured before training, where the batch size makes no difference."""

COLUMNS = [
    "task", "batch_size", "reference", "challenger", "gap", "relative_gap", "uncertainty", "better", "crossover",
    *MEASURES, "frequency_gap", "regime", "predicted_crossover", "predicted_gap_sign",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Why:
    """What was measured beside the gaps, and how it correlates with them.

    Attributes:
        table: one row per task, pair of optimizers and batch size, see `COLUMNS`.
        with_crossover: column -> its rank correlation with the crossover, one pair per task.
        with_gap: column -> its mean rank correlation with the relative gap over the batch sizes of each task; without
            `AT_START`.
    """

    table: pd.DataFrame
    with_crossover: dict[str, RankCorrelation]
    with_gap: dict[str, RankCorrelation]


def why(comparisons: Sequence[Comparison], read: DiagnosticReader) -> Why:
    """Put the measures beside the gaps, and correlate them.

    Args:
        comparisons: one per sweep.
        read: reads a run's diagnostics.

    Raises:
        ValueError: no run of a tuned point has diagnostics.
    """
    rows = [row for comparison in comparisons for row in _rows(comparison, read)]
    table = pd.DataFrame(rows, columns=COLUMNS).drop_duplicates([*SERIES, "batch_size"])
    measured = [*MEASURES, "frequency_gap"]
    if table.empty or not bool(table[measured].notna().any(axis=None)):
        raise ValueError(
            "No tuned run has diagnostics; run `python -m suite sweep SWEEP.yaml --diagnose "
            "noise,smoothness,frequency,spectra`, which trains the tuned settings once more with them."
        )
    by_task = table.groupby(SERIES, sort=False)
    means = by_task[[*CORRELATED, "crossover"]].agg(lambda values: values.mean(skipna=True))
    crossover = means["crossover"].tolist()
    gaps = table["relative_gap"].tolist()
    groups = (table["task"] + table["reference"] + table["challenger"]).tolist()
    return Why(
        table.reset_index(drop=True),
        {name: rank_correlation(means[name].tolist(), crossover) for name in CORRELATED},
        {name: rank_correlation(table[name].tolist(), gaps, groups) for name in CORRELATED if name not in AT_START},
    )


def crossover_rank(crossover: Crossover) -> float:
    """The crossover as a number to rank, from verdicts that hold together alone.

    0 where the reference is better wherever it is known who is, infinite where the challenger is, the estimated batch
    size where the challenger is better below and the reference above. NaN for what has no place in this order: no
    verdict, a crossing the other way round, verdicts that contradict each other.
    """
    sides = set(crossover.winners.values())
    if not sides or crossover.contrary:
        return math.nan
    if len(sides) == 1:
        return math.inf if sides == {crossover.challenger} else 0.0
    if crossover.small_batch != crossover.challenger:
        return math.nan
    estimates = (crossover.line_zero, crossover.interpolated)
    return next((size for size in estimates if size is not None), math.nan)


def _rows(comparison: Comparison, read: DiagnosticReader) -> list[dict[str, object]]:
    points = diagnosed_points(comparison.tuned, read)
    crossovers = {(x.task, x.reference, x.challenger): x for x in comparison.crossovers}
    rows = []
    for key, gaps in comparison.gaps.groupby(SERIES, sort=False):
        of_groups = group_gaps(points[points["task"] == key[0]], *key[1:])
        for gap in gaps.itertuples(index=False):
            measured = points[(points["task"] == gap.task) & (points["batch_size"] == gap.batch_size)]
            measured = measured[measured["optimizer"].isin(key[1:])]
            row: dict[str, object] = {name: getattr(gap, name) for name in COLUMNS[:8]}
            values = {name: _value(measured, measure) for name, measure in MEASURES.items()}
            row |= {"crossover": crossover_rank(crossovers[key]), **values}
            row["frequency_gap"] = _frequency_gap(of_groups[of_groups["batch_size"] == gap.batch_size])
            rows.append(row | _predicted(comparison, gap, values))
    return rows


def _value(points: pd.DataFrame, measure: Measure) -> float:
    rows = chosen(points[points["diagnostic"] == measure.diagnostic], measure.quantity, groups=False)
    values = reduced(rows.dropna(subset="value"), measure.at)["value"].to_numpy(dtype=float)
    if not len(values):
        return math.nan
    if measure.log and bool((values > 0).all()):
        return float(np.exp(np.log(values).mean()))
    return float(values.mean())


def _frequency_gap(gaps: pd.DataFrame) -> float:
    """The gap on the rarest classes minus that on the most frequent; negative: the reference leads on the rare."""
    if len(gaps) < 2:
        return math.nan
    ordered = gaps.assign(group=gaps["group"].astype(int)).sort_values("group")["gap"].to_numpy(dtype=float)
    return float(ordered[-1] - ordered[0])


def _predicted(comparison: Comparison, gap: object, values: dict[str, float]) -> dict[str, object]:
    """What the theory (paper 1, section 5) predicts for the measured constants: regime, crossover, sign of the gap."""
    nothing: dict[str, object] = {"regime": None, "predicted_crossover": math.nan, "predicted_gap_sign": math.nan}
    task, size = gap.task, gap.batch_size  # type: ignore[attr-defined]
    runs = comparison.runs[(comparison.runs["task"] == task) & (comparison.runs["batch_size"] == size)]
    parameters = runs["parameters"].dropna() if "parameters" in runs else pd.Series(dtype=float)
    losses = [gap.reference_loss, gap.challenger_loss]  # type: ignore[attr-defined]
    start = comparison.start_losses.get((task, size), math.nan)
    lowest = min((loss for loss in losses if math.isfinite(loss)), default=math.nan)
    fallen = start - lowest
    if parameters.empty or not all(values[name] > 0 for name in ("l2", "linf", "noise_trace")) or not fallen > 0:
        return nothing
    try:
        problem = Problem(
            dimension=int(parameters.iloc[0]),
            smoothness_2=values["l2"],
            smoothness_inf=values["linf"],
            noise=math.sqrt(values["noise_trace"]),
            suboptimality=fallen,
            budget=float(runs["steps"].iloc[0]) * size,
        )
    except ValueError:  # both norms are lower bounds, so that their ratio may be impossible
        return nothing
    model = gap_model(problem)
    crossover = model.crossover()
    if crossover is None:
        crossover = math.inf if model.regime == "II" else 0.0
    sign = float(np.sign(float(model(size))))
    return {"regime": model.regime, "predicted_crossover": crossover, "predicted_gap_sign": sign}
