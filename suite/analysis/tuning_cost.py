"""What tuning costs: the loss to expect after k random trials, and whether the winner depends on k.

A tuned point says what the best of a whole grid reaches. Somebody who can afford k trials draws them at random from the
grid and keeps the best (Sivaprasad et al. 2020, "Optimizer benchmarking needs to account for hyperparameter tuning").
A comparison whose sign depends on k is a statement about tuning as much as about optimizers, and is reported as such.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.tuned import choosing, setting_results
from suite.analysis.words import optimizer_title

COLUMNS = [
    "task",
    "batch_size",
    "challenger",
    "reference",
    "trials",
    "challenger_loss",
    "reference_loss",
    "challenger_spread",
    "reference_spread",
    "gap",
    "relative_gap",
    "winner",
]


def best_of_draws(losses: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the lowest of k losses drawn without replacement, for every k.

    With the losses in ascending order, the lowest of k of the n is above the i-th with probability
    ``C(n - i, k) / C(n, k)``: both moments are finite sums, nothing is simulated.

    Args:
        losses: final loss of every setting, shape ``[n]``, finite.

    Returns:
        Two arrays of shape ``[n]``, for k from 1 to n.
    """
    ordered = np.sort(np.asarray(losses, dtype=float))
    count = len(ordered)
    draws = np.arange(1, count + 1)[:, None]
    place = np.arange(count)[None, :]
    # Row k, column i: the chance that the i + 1 lowest are all left out of k draws.
    left_out = np.cumprod(np.clip((count - draws - place) / (count - place), 0, None), axis=1)
    chance = np.diff(-np.concatenate([np.ones((count, 1)), left_out], axis=1), axis=1)
    mean = chance @ ordered
    return mean, np.sqrt(np.clip(chance @ ordered**2 - mean**2, 0, None))


def tuning_cost_table(
    runs: pd.DataFrame, gaps: pd.DataFrame, start_losses: Mapping[tuple[str, int], float] | None = None
) -> pd.DataFrame:
    """The gap to expect after k random trials of each optimizer, for every row of a gap table.

    A trial is one setting (mean over the seeds that chose; edge extensions are part of the grid). A trial that diverged
    or ended above the loss of the untrained network counts as the latter: whoever sees that has lost the trial, not an
    infinite amount. Where the untrained loss is not known, the worst finite loss of either optimizer stands for it.

    Args:
        runs: see `suite.analysis.table`.
        gaps: see `suite.analysis.gap.gap_table`.
        start_losses: loss of the untrained network by task and batch size.

    Returns:
        The columns `COLUMNS`. ``trials`` runs from 1 to the smaller grid; losses are expected ones, ``..._spread``
        their standard deviation over the draws; ``gap`` and ``relative_gap`` have the sign and unit of the gap table;
        ``winner`` is None where the gap is below the tuned gap's uncertainty.
    """
    groups = {
        key: setting_results(group)
        for key, group in choosing(runs).groupby(["task", "optimizer", "batch_size"], sort=False)
    }
    rows: list[dict[str, Any]] = []
    for row in gaps.itertuples(index=False):
        found = [groups[row.task, label, row.batch_size] for label in (row.reference, row.challenger)]
        losses = [np.array([result.loss for result in results]) for results in found]
        finite = np.concatenate([x[np.isfinite(x)] for x in losses])
        if not len(finite) or not all(map(len, losses)):
            continue
        worst = max((start_losses or {}).get((row.task, row.batch_size), finite.max()), finite.min())
        counted = [np.minimum(x, worst) for x in losses]
        (reference, reference_spread), (challenger, challenger_spread) = map(best_of_draws, counted)
        for trial in range(min(map(len, losses))):
            gap = reference[trial] - challenger[trial]
            told = not math.isnan(row.uncertainty) and abs(gap) > row.uncertainty
            rows.append(
                {
                    "task": row.task,
                    "batch_size": row.batch_size,
                    "challenger": row.challenger,
                    "reference": row.reference,
                    "trials": trial + 1,
                    "challenger_loss": challenger[trial],
                    "reference_loss": reference[trial],
                    "challenger_spread": challenger_spread[trial],
                    "reference_spread": reference_spread[trial],
                    "gap": gap,
                    "relative_gap": 100 * gap / reference[trial] if reference[trial] else math.nan,
                    "winner": (row.challenger if gap > 0 else row.reference) if told else None,
                }
            )
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["winner"] = pd.Series([row["winner"] for row in rows], dtype=object)
    return table


def tuning_cost_sentences(table: pd.DataFrame) -> list[str]:
    """One sentence per pair of optimizers: at which batch sizes the winner depends on the number of trials."""
    sentences = []
    for (task, reference, challenger), rows in table.groupby(["task", "reference", "challenger"], sort=False):
        names = f"{optimizer_title(str(reference))} and {optimizer_title(str(challenger))} on {task}"
        changes = [_change(int(size), own) for size, own in rows.groupby("batch_size")]
        told = [change for change in changes if change]
        if told:
            sentences.append(f"The winner between {names} depends on the number of random trials: {'; '.join(told)}.")
        elif rows["winner"].notna().any():
            sentences.append(f"The winner between {names} does not depend on the number of random trials.")
    return sentences


def _change(size: int, rows: pd.DataFrame) -> str:
    """Who wins from how many trials on, where both optimizers win for some number; else nothing."""
    told = rows[rows["winner"].notna()].sort_values("trials")
    if told["winner"].nunique() < 2:
        return ""
    turns = told[told["winner"] != told["winner"].shift()]
    parts = [f"{optimizer_title(turn.winner)} from {turn.trials}" for turn in turns.itertuples(index=False)]
    return f"at batch size {size} {', '.join(parts)}"
