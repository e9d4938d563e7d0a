"""Two stores or CSV exports side by side: are the same runs still the same, and do the answers agree?

Runs are matched by their id where both sides have it (one store before, one after a change of the code), else by
optimizer, batch size, setting and seed (ours against somebody's CSV). Tuned points and gaps are matched by optimizer,
batch size and pair. Task names are matched where both sides have several, and disregarded where each has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from suite.analysis.comparison import Comparison, compare_csv, compare_plan
from suite.analysis.gap import SERIES
from suite.analysis.words import verdict_text
from suite.records import Store

RUN = ["task", "optimizer", "batch_size", "setting", "seed"]
AGREE = 1e-9
"""Relative difference of final losses up to which two runs count as the same."""


@dataclass(frozen=True, kw_only=True)
class TwoSides:
    """What two sides say about the same question.

    Attributes:
        first: the first side.
        second: the second side.
        runs: matched runs, with ``first_status``, ``second_status``, ``first_loss``, ``second_loss`` and ``difference``
            (second minus first), after the columns that they were matched by.
        by_id: whether runs were matched by id.
        tuned: matched tuned points: losses, ``difference`` and its ``uncertainty``, and both settings.
        gaps: matched gaps, ``difference`` and its ``uncertainty``, the verdicts (``..._said``, in words), who is
            ``..._better``, and whether the verdicts ``agree``.
    """

    first: Comparison
    second: Comparison
    runs: pd.DataFrame
    by_id: bool
    tuned: pd.DataFrame
    gaps: pd.DataFrame


def open_side(source: str | Path, *, sweep: str | None = None, final_loss: str | None = None) -> Comparison:
    """Read one side: a CSV export, or one sweep of a store.

    Args:
        source: a CSV file or a store's folder.
        sweep: name of the sweep, needed where a store has several, or a plan's id; by name, what was planned last.
        final_loss: definition of the final loss; by default the sweep's, and ``ema`` for a CSV.

    Raises:
        ValueError: there is no such sweep, or there are several and none is named.
    """
    path = Path(source)
    if path.is_file():
        return compare_csv(path, final_loss=final_loss)
    store = Store(path)
    latest = store.latest_plans()
    chosen = [plan for plan in store.plans() if plan["plan_id"] == sweep]
    chosen = chosen or [plan for plan in latest if sweep in (None, plan["name"])]
    if len(chosen) != 1:
        names = [plan["name"] for plan in latest] or ["none"]
        names += [f"the damaged {file} {reason}" for file, reason in store.problems]
        raise ValueError(
            f"Expected a CSV file or a store with one sweep, got {path} with {len(chosen)} that fit (it has: "
            f"{', '.join(names)}); choose one with --sweep NAME."
        )
    return compare_plan(store, chosen[0], final_loss=final_loss)


def two_sides(first: Comparison, second: Comparison) -> TwoSides:
    """Match the runs, tuned points and gaps of two sides.

    Raises:
        ValueError: they have different definitions of the final loss, or nothing in common.
    """
    if first.final_losses != second.final_losses:
        raise ValueError(
            f"The sides must have one definition of the final loss, got {first.final_losses} and "
            f"{second.final_losses}; choose one with --final-loss."
        )
    by_id = bool(set(first.runs["run_id"]) & set(second.runs["run_id"])) and not _from_csv(first, second)
    keep_task = min(first.runs["task"].nunique(), second.runs["task"].nunique()) > 1

    def matched(name: str, on: Sequence[str], values: Sequence[str], extra: Sequence[str] = ()) -> pd.DataFrame:
        frames = [getattr(side, name) for side in (first, second)]
        if name == "gaps":
            with first.named():
                frames = [frame.assign(said=[verdict_text(row) for _, row in frame.iterrows()]) for frame in frames]
        return _matched([frame if keep_task else frame.assign(task="") for frame in frames], on, values, extra)

    runs = matched("runs", ["run_id"] if by_id else RUN, ["status", "loss"], RUN if by_id else ())
    tuned = matched("tuned", ["task", "optimizer", "batch_size"], ["loss", "uncertainty", "setting"])
    gaps = matched("gaps", [*SERIES, "batch_size"], ["gap", "uncertainty", "better", "said"])
    if tuned.empty:
        raise ValueError("The sides have no optimizer and batch size in common; compare two sides of one question.")
    for frame, value in ((runs, "loss"), (tuned, "loss"), (gaps, "gap")):
        one, other = frame[f"first_{value}"], frame[f"second_{value}"]
        frame["difference"] = (other - one).mask(one == other, 0.0)  # both infinite: no difference
    for frame in (tuned, gaps):
        frame["uncertainty"] = np.hypot(frame["first_uncertainty"], frame["second_uncertainty"])
    gaps["agree"] = gaps["first_said"] == gaps["second_said"]
    return TwoSides(first=first, second=second, runs=runs, by_id=by_id, tuned=tuned, gaps=gaps)


def _from_csv(*sides: Comparison) -> bool:
    # Row numbers of a CSV look like ids and are none.
    return any(side.tuned_by == "" for side in sides)


def _matched(
    frames: Sequence[pd.DataFrame], on: Sequence[str], values: Sequence[str], extra: Sequence[str]
) -> pd.DataFrame:
    left = frames[0][[*on, *extra, *values]].rename(columns={name: f"first_{name}" for name in values})
    right = frames[1][[*on, *values]].rename(columns={name: f"second_{name}" for name in values})
    return left.drop_duplicates(list(on)).merge(right.drop_duplicates(list(on)), on=list(on))


def same_runs(sides: TwoSides) -> pd.Series:
    """Which matched runs have the same status and, up to `AGREE`, the same final loss."""
    runs = sides.runs
    same_loss = np.isclose(runs["second_loss"], runs["first_loss"], rtol=AGREE, atol=0, equal_nan=True)
    return (runs["first_status"] == runs["second_status"]) & same_loss
