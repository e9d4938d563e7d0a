"""A paper's printed values beside the measured ones, each with the place where it was read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from suite.analysis.gap import BASELINE, CHALLENGER, SERIES

GAP_COLUMNS = [
    "task", "batch_size", "own_batch_size", "reference", "challenger", "published_gap", "published_relative_gap",
    "gap", "relative_gap", "better", "source",
]  # fmt: skip

LOSS_COLUMNS = ["task", "batch_size", "own_batch_size", "optimizer", "published_loss", "loss", "source"]


def published_gaps(published: Sequence[Mapping[str, Any]], gaps: pd.DataFrame) -> pd.DataFrame:
    """Published gaps with ours at the same panel, batch size and pair, where there is one.

    Where a paper prints two losses or perplexities, their gap is formed here (a perplexity's loss is its logarithm, in
    nats). An entry of a sweep without panels belongs to its only task; one without a batch size stands beside ours
    where we have measured a single one.

    Args:
        published: entries as in a sweep's YAML; see its key ``published``.
        gaps: see `suite.analysis.gap.gap_table`.

    Returns:
        The columns `GAP_COLUMNS`, in the order of ``published``: gaps have the loss's unit, relative gaps are percent,
        NaN where one side is not known.
    """
    rows = []
    for entry, task, size in _placed(published, gaps):
        for reference, challenger, gap, relative in _gaps_of(entry):
            ours = gaps[(gaps[SERIES] == [task, reference, challenger]).all(axis=1)]
            if not math.isnan(size):
                ours = ours[ours["batch_size"] == size]
            measured = [math.nan, math.nan, None, math.nan]
            if len(ours) == 1:
                measured = ours.iloc[0][["gap", "relative_gap", "better", "batch_size"]].tolist()
            *values, own_size = measured
            rows.append([task, size, own_size, reference, challenger, gap, relative, *values, entry["source"]])
    return pd.DataFrame(rows, columns=GAP_COLUMNS)


def published_losses(published: Sequence[Mapping[str, Any]], tuned: pd.DataFrame) -> pd.DataFrame:
    """Published losses with our tuned ones at the same panel, batch size and optimizer, where there are some.

    Args:
        published: entries as in a sweep's YAML; see its key ``published``.
        tuned: see `suite.analysis.tuned.tuned_points`.

    Returns:
        The columns `LOSS_COLUMNS`, in the order of ``published``; a perplexity's loss is its logarithm, in nats.
    """
    rows = []
    for entry, task, size in _placed(published, tuned):
        for optimizer, loss in _losses_of(entry).items():
            ours = tuned[(tuned[["task", "optimizer"]] == [task, optimizer]).all(axis=1)]
            if not math.isnan(size):
                ours = ours[ours["batch_size"] == size]
            own_size, own_loss = ours.iloc[0][["batch_size", "loss"]] if len(ours) == 1 else (math.nan, math.nan)
            rows.append([task, size, own_size, optimizer, loss, own_loss, entry["source"]])
    return pd.DataFrame(rows, columns=LOSS_COLUMNS)


def _placed(
    published: Sequence[Mapping[str, Any]], ours: pd.DataFrame
) -> Iterator[tuple[Mapping[str, Any], str, float]]:
    """Every entry with the task that it belongs to, empty where that is not known, and its batch size or NaN."""
    tasks = list(ours["task"].drop_duplicates())
    for entry in published:
        yield entry, entry.get("panel") or (tasks[0] if len(tasks) == 1 else ""), entry.get("batch_size", math.nan)


def _losses_of(entry: Mapping[str, Any]) -> dict[str, float]:
    perplexities = entry.get("perplexities") or {}
    return {**(entry.get("losses") or {}), **{label: math.log(value) for label, value in perplexities.items()}}


def _gaps_of(entry: Mapping[str, Any]) -> list[tuple[str, str, float, float]]:
    losses = _losses_of(entry)
    reference, challenger = entry.get("reference", BASELINE), entry.get("challenger", CHALLENGER)
    if "gap" in entry or "relative_gap" in entry:
        return [(reference, challenger, entry.get("gap", math.nan), entry.get("relative_gap", math.nan))]
    if reference not in losses:
        return []
    against = losses[reference]
    return [
        (reference, label, against - loss, 100 * (against - loss) / abs(against) if against else math.nan)
        for label, loss in losses.items()
        if label != reference
    ]
