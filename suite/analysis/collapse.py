"""What the gap follows over budgets: the batch size, or the number of steps.

With one budget the two move together: large batches have few steps. Over several budgets they come apart, and either
may be all that a gap depends on. Then gaps that share it, of different budgets, are the same but for their errors, and
drawn over it the budgets' gaps lie on one curve: they *collapse*. Both are tested (F test, weighted, at `FIT`): the gap
*follows* the one that the gaps do not contradict, where they contradict the other. That a number of steps is all there
is to a gap is how *Is your batch size the problem?* (paper 2) reads its figures: small batches need steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from suite.analysis.crossover import FIT
from suite.analysis.families import Family
from suite.analysis.gap import SERIES
from suite.analysis.words import pair_text

EQUAL = 0.05
"""Share by which numbers of steps that count as equal may differ: a budget that is no multiple of a batch is cut."""

LEAST = 2
"""Comparisons of gaps below which nothing is tested."""

COLUMNS = [
    "task", "reference", "challenger", "follows", "steps_p", "steps_comparisons", "batch_size_p",
    "batch_size_comparisons",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """The gaps of one pair of optimizers over the budgets of a family of panels.

    Attributes:
        family: the panels.
        reference: label of the optimizer that a negative gap favours.
        challenger: the other's.
        gaps: rows of the gap table with a finite gap and a known error, with their ``budget`` in the family's unit and
            their number of ``steps``; numbers that count as equal are equal.
        steps_p: chance of gaps as unlike at equal numbers of steps, were these all that a gap depends on.
        steps_comparisons: how many comparisons of gaps that rests on: gaps less different numbers of steps.
        batch_size_p: likewise of batch sizes.
        batch_size_comparisons: likewise.
    """

    family: Family
    reference: str
    challenger: str
    gaps: pd.DataFrame
    steps_p: float
    steps_comparisons: int
    batch_size_p: float
    batch_size_comparisons: int

    @property
    def follows(self) -> str:
        """``steps``, ``batch size``, ``neither``, or ``either``: what the gaps may depend on alone."""
        by_steps, by_size = self.steps_p >= FIT, self.batch_size_p >= FIT
        if by_steps and by_size:
            return "either"
        return "steps" if by_steps else "batch size" if by_size else "neither"

    def sentence(self, *, named: bool = False) -> str:
        """The answer in words, with the family's name in front where it is ``named``."""
        pair = pair_text(self.reference, self.challenger)
        where = f"{self.family.name}: {pair}" if named else pair
        by_steps = f"equal numbers of steps ({_p_text(self.steps_p)})"
        by_size = f"equal batch sizes ({_p_text(self.batch_size_p)})"
        answer, agree = {
            "steps": ("the gap follows the number of steps", f"at {by_steps} and not at {by_size}"),
            "batch size": ("the gap follows the batch size", f"at {by_size} and not at {by_steps}"),
            "neither": ("the gap follows neither steps nor batch size", f"neither at {by_steps} nor at {by_size}"),
            "either": ("it is not told whether the gap follows steps or batch size", f"at {by_steps} and at {by_size}"),
        }[self.follows]
        return f"{where}: {answer}; over the budgets gaps agree {agree}."


def collapses(gaps: pd.DataFrame, tuned: pd.DataFrame, families: Sequence[Family]) -> list[Collapse]:
    """What the gap of every pair of optimizers follows in every family, where `LEAST` comparisons are for both.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        tuned: see `suite.analysis.tuned.tuned_points`.
        families: see `suite.analysis.families.families`.
    """
    collapsed = []
    steps = tuned.drop_duplicates(["task", "batch_size"])[["task", "batch_size", "steps"]]
    for family in families:
        budgets = dict(zip(family.tasks, family.budgets, strict=True))
        here = gaps[gaps["task"].isin(budgets)].merge(steps, on=["task", "batch_size"])
        here = here[np.isfinite(here["relative_gap"]) & (here["relative_error"] > 0)]
        here = here.assign(budget=here["task"].map(budgets), steps=_made_equal(here["steps"].to_numpy(dtype=float)))
        for (reference, challenger), rows in here.groupby(SERIES[1:], sort=False):
            (steps_p, by_steps), (size_p, by_size) = _p_of(rows, "steps"), _p_of(rows, "batch_size")
            if min(by_steps, by_size) >= LEAST:
                collapsed.append(
                    Collapse(
                        family=family,
                        reference=str(reference),
                        challenger=str(challenger),
                        gaps=rows.reset_index(drop=True),
                        steps_p=steps_p,
                        steps_comparisons=by_steps,
                        batch_size_p=size_p,
                        batch_size_comparisons=by_size,
                    )
                )
    return collapsed


def collapse_table(collapsed: Sequence[Collapse]) -> pd.DataFrame:
    """One row per family and pair, with the columns `COLUMNS`."""
    return pd.DataFrame(
        [
            [one.family.name, one.reference, one.challenger, one.follows, one.steps_p, one.steps_comparisons,
             one.batch_size_p, one.batch_size_comparisons]
            for one in collapsed
        ],
        columns=COLUMNS,
    )  # fmt: skip


def _made_equal(steps: np.ndarray) -> np.ndarray:
    """Numbers of steps, of those within `EQUAL` of the one below the lowest."""
    equal: dict[float, float] = {}
    first = last = math.nan
    for count in np.unique(steps):
        first, last = (first if count <= last * (1 + EQUAL) else count), count
        equal[count] = first
    return np.array([equal[count] for count in steps])


def _p_of(rows: pd.DataFrame, shared: str) -> tuple[float, int]:
    """Chance of gaps as unlike among those that share something, did they depend on it alone; how many comparisons."""
    weights = 1 / np.square(rows["relative_error"])
    groups = rows[shared]
    means = (rows["relative_gap"] * weights).groupby(groups).transform("sum") / weights.groupby(groups).transform("sum")
    comparisons = len(rows) - groups.nunique()
    if not comparisons:
        return math.nan, 0
    misfit = float((weights * np.square(rows["relative_gap"] - means)).sum()) / comparisons
    return float(fdtrc(comparisons, float(rows["freedom"].mean()), misfit)), comparisons


def _p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
