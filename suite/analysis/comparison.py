"""Everything that the runs of one plan or one CSV export say: what the terminal and the report show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from suite.analysis.crossover import Crossover, crossover
from suite.analysis.csv_import import csv_losses, load_csv
from suite.analysis.curves import LossReader, store_losses
from suite.analysis.gap import gap_table
from suite.analysis.table import load_runs
from suite.analysis.tuned import tuned_points
from suite.records import EMA_ALPHA, Store

START_LEFT = 0.05
"""Weight of the first loss in the final loss above which a reader is warned."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was compared, and the answer.

    Attributes:
        title: what was asked: a sweep's question, or a file's name.
        subtitle: task and source of the setting; may be empty.
        final_loss: definition of the final loss.
        runs: one row per run; see `suite.analysis.table`.
        tuned: see `suite.analysis.tuned.tuned_points`.
        gaps: see `suite.analysis.gap.gap_table`.
        crossovers: one per task and pair of optimizers, in the order of ``gaps``.
    """

    title: str
    subtitle: str
    final_loss: str
    runs: pd.DataFrame
    tuned: pd.DataFrame
    gaps: pd.DataFrame
    crossovers: tuple[Crossover, ...]

    @property
    def short_runs(self) -> pd.DataFrame:
        """Batch sizes whose runs are so short that the moving average still holds much of the first loss.

        Returns:
            Columns ``batch_size``, ``steps`` and ``start_share``: the first loss's weight in the final loss.
        """
        if self.final_loss != "ema":
            return pd.DataFrame(columns=["batch_size", "steps", "start_share"])
        steps = self.runs.groupby("batch_size")["steps"].max().reset_index()
        steps["start_share"] = (1 - EMA_ALPHA) ** (steps["steps"] - 1).clip(lower=0)
        return steps[steps["start_share"] > START_LEFT].reset_index(drop=True)


def compare_plan(
    store: Store,
    plan: Mapping[str, Any],
    *,
    losses: LossReader | None = None,
    reference: str | None = None,
    challenger: str | None = None,
) -> Comparison:
    """Compare the runs of one plan.

    Args:
        store: where the records are.
        plan: see `suite.records.Store.plan`.
        losses: reads the curves of the tuned points; by default from ``store``.
        reference: see `suite.analysis.gap.pair_optimizers`.
        challenger: see `suite.analysis.gap.pair_optimizers`.
    """
    runs = load_runs(store, plan)
    read = losses or store_losses(store)
    tuned = tuned_points(runs, read, plan["final_loss"])
    gaps = gap_table(runs, read, tuned=tuned, reference=reference, challenger=challenger)
    return Comparison(
        title=plan.get("question") or plan["name"],
        subtitle=", ".join(str(plan[key]) for key in ("task_title", "source") if plan.get(key)),
        final_loss=plan["final_loss"],
        runs=runs,
        tuned=tuned,
        gaps=gaps,
        crossovers=crossovers(gaps),
    )


def compare_csv(
    path: str | Path,
    *,
    final_loss: str = "ema",
    reference: str | None = None,
    challenger: str | None = None,
) -> Comparison:
    """Compare the runs of a CSV export; see `suite.analysis.csv_import.load_csv`."""
    runs = load_csv(path, final_loss)
    tuned = tuned_points(runs, None, final_loss)
    kept = csv_losses(path, _ids(tuned["run_ids"]))
    gaps = gap_table(runs, kept.get, tuned=tuned, reference=reference, challenger=challenger)
    return Comparison(
        title=Path(path).name,
        subtitle="CSV export",
        final_loss=final_loss,
        runs=runs,
        tuned=tuned,
        gaps=gaps,
        crossovers=crossovers(gaps),
    )


def crossovers(gaps: pd.DataFrame) -> tuple[Crossover, ...]:
    """The crossover of every task and pair of optimizers in a gap table."""
    return tuple(crossover(rows) for _, rows in gaps.groupby(["task", "reference", "challenger"], sort=False))


def _ids(groups: Iterable[tuple[str, ...]]) -> set[str]:
    return {run_id for group in groups for run_id in group}
