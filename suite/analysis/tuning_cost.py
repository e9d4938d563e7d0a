"""What tuning costs: the loss to expect after k random trials, and whether it depends on k whose is lower.

A tuned point says what the best of a whole grid reaches. Somebody who can afford k trials draws them at random from the
grid and keeps the best (Sivaprasad et al. 2020, "Optimizer benchmarking needs to account for hyperparameter tuning").
A comparison whose sign depends on k is a statement about tuning as much as about optimizers, and is reported as such.
Settings that a search chose are no random draw of a grid, so nothing is said where an optimizer's were searched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from suite.analysis.table import was_searched
from suite.analysis.tuned import choosing, setting_results
from suite.analysis.words import batch_sizes_text, optimizer_title

COLUMNS = [
    "task", "batch_size", "challenger", "reference", "trials",
    "challenger_loss", "reference_loss", "challenger_spread", "reference_spread", "gap", "relative_gap", "winner",
]  # fmt: skip


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
    rank = np.arange(count)[None, :]
    # Row k, column i: the chance that the i + 1 lowest are all left out of k draws.
    left_out = np.cumprod(np.clip((count - draws - rank) / (count - rank), 0, None), axis=1)
    chance = np.diff(-np.concatenate([np.ones((count, 1)), left_out], axis=1), axis=1)
    mean = chance @ ordered
    return mean, np.sqrt(np.clip(chance @ ordered**2 - mean**2, 0, None))


def tuning_cost_table(
    runs: pd.DataFrame, gaps: pd.DataFrame, start_losses: Mapping[tuple[str, int], float] | None = None
) -> pd.DataFrame:
    """The gap to expect after k random trials of each optimizer, for every row of a gap table.

    A trial is one setting (mean over the seeds that chose; edge extensions are part of the grid). A trial that diverged
    or ended above the loss of the untrained network counts as that loss: the trial was wasted, but its cost is finite.
    Where the untrained loss is not known, the worst finite loss of either optimizer stands for it.

    Args:
        runs: see `suite.analysis.table`.
        gaps: see `suite.analysis.gap.gap_table`.
        start_losses: loss of the untrained network by task and batch size.

    Returns:
        The columns `COLUMNS`. ``trials`` runs from 1 to the smaller grid; losses are expected ones, ``..._spread``
        their standard deviation over the draws; ``gap`` and ``relative_gap`` have the sign and unit of the gap table;
        ``winner`` is None where the gap is below the tuned gap's uncertainty. Without rows where the settings of either
        optimizer were searched.
    """
    losses = {
        key: np.array([result.loss for result in setting_results(group)])
        for key, group in choosing(runs).groupby(["task", "optimizer", "batch_size"], sort=False)
        if not was_searched(group)
    }
    tables = [pd.DataFrame(columns=COLUMNS)]
    for row in gaps.itertuples(index=False):
        sides = [
            losses.get((row.task, label, row.batch_size), np.array([])) for label in (row.reference, row.challenger)
        ]
        finite = np.concatenate([side[np.isfinite(side)] for side in sides])
        trials = min(map(len, sides))
        if not len(finite) or not trials:
            continue
        worst = max((start_losses or {}).get((row.task, row.batch_size), finite.max()), finite.min())
        expected = [[moment[:trials] for moment in best_of_draws(np.minimum(side, worst))] for side in sides]
        (reference, reference_spread), (challenger, challenger_spread) = expected
        gap = reference - challenger
        winners = np.where(gap > 0, row.challenger, row.reference).astype(object)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(reference * challenger > 0, 100 * gap / np.abs(reference), math.nan)
        values = {
            "challenger_loss": challenger,
            "reference_loss": reference,
            "challenger_spread": challenger_spread,
            "reference_spread": reference_spread,
            "gap": gap,
            "relative_gap": relative,
            "winner": np.where(np.abs(gap) > row.uncertainty, winners, None),
        }
        key = {name: getattr(row, name) for name in COLUMNS[:4]}
        tables.append(pd.DataFrame({**key, "trials": np.arange(1, trials + 1), **values}))
    return tables[0] if len(tables) == 1 else pd.concat(tables[1:], ignore_index=True)


def tuning_cost_sentences(table: pd.DataFrame) -> list[str]:
    """One sentence per pair of optimizers: where it depends on the number of trials whose expected loss is lower."""
    sentences, several = [], table["task"].nunique() > 1
    for (task, reference, challenger), rows in table.groupby(["task", "reference", "challenger"], sort=False):
        where = f" on {task}" if several else ""
        names = f"{optimizer_title(str(reference))} and {optimizer_title(str(challenger))}"
        which = f"Which of {names} has the lower expected loss{where}"
        by_size = {int(size): at_size for size, at_size in rows.groupby("batch_size")}
        changes = [_change(size, at_size) for size, at_size in by_size.items()]
        turning = [size for size, at_size in by_size.items() if _changes_sign(at_size)]
        won = [size for size, at_size in by_size.items() if at_size["winner"].notna().any()]
        if any(changes):
            sentences.append(f"{which} depends on the number of random trials: {'; '.join(filter(None, changes))}.")
        elif turning:
            sentences.append(
                f"The expected gap between {names}{where} changes sign with the number of random trials at "
                f"{batch_sizes_text(turning)}, though not beyond the tuned gap's uncertainty on both sides."
            )
        elif won:
            rest = "elsewhere neither is lower by more than the tuned gap's uncertainty"
            at = "" if len(won) == len(by_size) else f" at {batch_sizes_text(won)}; {rest}"
            sentences.append(f"{which} does not depend on the number of random trials{at}.")
    return sentences


def _changes_sign(rows: pd.DataFrame) -> bool:
    """Whether the expected gap is above zero for some numbers of trials and below for others."""
    return bool((rows["gap"] > 0).any() and (rows["gap"] < 0).any())


def _change(size: int, rows: pd.DataFrame) -> str:
    """Whose expected loss is lower from how many trials on, where that is either's for some number; else nothing."""
    won = rows[rows["winner"].notna()].sort_values("trials")
    if won["winner"].nunique() < 2:
        return ""
    turns = won[won["winner"] != won["winner"].shift()]
    parts = [f"{optimizer_title(turn.winner)} from {turn.trials}" for turn in turns.itertuples(index=False)]
    return f"at batch size {size} {', '.join(parts)}"
