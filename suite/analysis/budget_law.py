"""How the crossover moves with the budget: a power law through the crossovers of a sweep of several budgets.

Every budget has its own crossover (`suite.analysis.crossover`). Where two or more are claimed, the batch size at which
the gap passes zero is fitted as a power of the budget: least squares on logarithms, weighted by how well each crossover
is known. All crossovers are placed by one estimate: by the weighted line where every one of them has it, else by the
monotone interpolation. The interval of the exponent is that of the fits to the draws of the gaps within their errors
(`suite.analysis.crossover_interval`), the budgets' draws independent; a draw without a zero in range has one beyond it,
so that an interval may be open. Budgets without a claimed crossover take no part and are named: a law that they would
bend is not seen.

Paper 1's theory (section 5) has the crossover grow as the square root of the budget.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from suite.analysis.crossover import Crossover
from suite.analysis.crossover_interval import drawn_zeros
from suite.analysis.families import Family
from suite.analysis.power_law import Judgement
from suite.analysis.verdict import LEVEL
from suite.analysis.words import batch_size_text, count_text, listed, pair_text

THEORY = 0.5
"""Exponent of the crossover over the budget in paper 1's theory."""

COLUMNS = [
    "task", "reference", "challenger", "budgets", "claimed", "exponent", "low", "high", "factor", "theory", "judgement",
]  # fmt: skip

POINTS = ["task", "reference", "challenger", "unit", "budget", "claimed", "crossover", "low", "high", "answer"]


@dataclass(frozen=True, kw_only=True)
class BudgetLaw:
    """The crossovers of one pair of optimizers over the budgets of a family of panels, and their law.

    Attributes:
        family: the panels.
        reference: label of the optimizer that a negative gap favours.
        challenger: the other's.
        crossovers: by ascending budget.
        zeros: places of the claimed crossovers, by budget in the family's unit.
        spans: ends of their 95% intervals; NaN where not known.
        exponent: of the budget; NaN with fewer than two crossovers.
        interval: of the exponent; NaN where it is not known.
        factor: the law's batch size at a budget of 1.
    """

    family: Family
    reference: str
    challenger: str
    crossovers: tuple[Crossover, ...]
    zeros: dict[float, float]
    spans: dict[float, tuple[float, float]]
    exponent: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)
    factor: float = math.nan

    @property
    def judgement(self) -> Judgement | None:
        """What the interval says of theory's exponent, open where it holds no dependence too; None without one."""
        low, high = self.interval
        if math.isnan(low):
            return None
        if not low <= THEORY <= high:
            return "contradicts"
        return "open" if low <= 0 <= high else "agrees"

    def sentence(self, *, named: bool = False) -> str:
        """The law in words, with the family's name in front where it is ``named``."""
        pair, unit = pair_text(self.reference, self.challenger), self.family.unit
        pair = f"{self.family.name}: {pair}" if named else pair
        without = [
            f"{count_text(budget)} {unit}"
            for budget, crossover in zip(self.family.budgets, self.crossovers, strict=True)
            if not crossover.claimed
        ]
        missing = f" No crossover is claimed at {listed(without)}." if without else ""
        if math.isnan(self.exponent):
            return f"{pair}: no law of the crossover over the budget, which takes two claimed crossovers.{missing}"
        places = ", ".join(
            f"{batch_size_text(zero)} at {count_text(budget)} {unit}" for budget, zero in self.zeros.items()
        )
        law = f"{pair}: the crossover moves as the budget to the {self.exponent:.2f}"
        low, high = self.interval
        if math.isnan(low):
            return f"{law}, interval not known ({places}).{missing}"
        theory = {
            "agrees": f"it agrees with theory's {THEORY:g} and excludes no dependence",
            "contradicts": f"it contradicts theory's {THEORY:g}",
            "open": f"theory's {THEORY:g} and no dependence are both possible",
        }[self.judgement or "open"]
        ends = " to ".join("any" if math.isinf(end) else f"{end:.2f}" for end in (low, high))
        return f"{law} ({LEVEL:.0%} interval {ends}; {places}): {theory}.{missing}"


def budget_laws(gaps: pd.DataFrame, crossovers: Sequence[Crossover], families: Sequence[Family]) -> list[BudgetLaw]:
    """The law of every pair of optimizers in every family.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        crossovers: of the gaps.
        families: see `suite.analysis.families.families`.
    """
    by_key = {(x.task, x.reference, x.challenger): x for x in crossovers}
    pairs = list(dict.fromkeys((x.reference, x.challenger) for x in crossovers))
    return [
        _law(gaps, family, tuple(by_key[task, *pair] for task in family.tasks))
        for family in families
        for pair in pairs
        if all((task, *pair) in by_key for task in family.tasks)
    ]


def law_table(laws: Sequence[BudgetLaw]) -> pd.DataFrame:
    """One row per law, with the columns `COLUMNS`; ``factor`` is the law's batch size at a budget of 1."""
    return pd.DataFrame(
        [
            [law.family.name, law.reference, law.challenger, len(law.crossovers), len(law.zeros), law.exponent,
             *law.interval, law.factor, THEORY, law.judgement or ""]
            for law in laws
        ],
        columns=COLUMNS,
    )  # fmt: skip


def crossover_table(laws: Sequence[BudgetLaw]) -> pd.DataFrame:
    """One row per budget and pair, with the columns `POINTS`; NaN without a claimed crossover, and an answer why."""
    rows = []
    for law in laws:
        for budget, crossover in zip(law.family.budgets, law.crossovers, strict=True):
            key = [law.family.name, law.reference, law.challenger, law.family.unit, budget, crossover.claimed]
            low, high = law.spans.get(budget, (math.nan, math.nan))
            rows.append([*key, law.zeros.get(budget, math.nan), low, high, crossover.sentence()])
    return pd.DataFrame(rows, columns=POINTS)


def _law(gaps: pd.DataFrame, family: Family, crossovers: tuple[Crossover, ...]) -> BudgetLaw:
    claimed = [(budget, x) for budget, x in zip(family.budgets, crossovers, strict=True) if x.claimed]
    by_line = all(x.line_zero is not None for _, x in claimed)
    zeros: dict[float, float] = {}
    spans: dict[float, tuple[float, float]] = {}
    draws: list[np.ndarray | None] = []
    for number, (budget, x) in enumerate(claimed):
        zero, span = (x.line_zero, x.line_interval) if by_line else (x.interpolated, x.interpolated_interval)
        if zero is None:
            continue
        zeros[budget], spans[budget] = zero, span or (math.nan, math.nan)
        both = drawn_zeros(_rows_of(gaps, x), falling=x.small_batch == x.challenger, seed=number)
        draws.append(None if both is None else both[0 if by_line else 1])
    law = BudgetLaw(
        family=family,
        reference=crossovers[0].reference,
        challenger=crossovers[0].challenger,
        crossovers=crossovers,
        zeros=zeros,
        spans=spans,
    )
    return law if len(zeros) < 2 else _fitted(law, draws)


def _rows_of(gaps: pd.DataFrame, crossover: Crossover) -> pd.DataFrame:
    """The finite gaps of a crossover, by batch size."""
    key = {"task": crossover.task, "reference": crossover.reference, "challenger": crossover.challenger}
    rows = gaps[np.logical_and.reduce([gaps[name] == value for name, value in key.items()])]
    return rows[np.isfinite(rows["relative_gap"].to_numpy(dtype=float))].sort_values("batch_size")


def _fitted(law: BudgetLaw, draws: Sequence[np.ndarray | None]) -> BudgetLaw:
    """A law with its exponent, from the places of the crossovers and their draws in log2 of the batch size."""
    budgets, zeros = np.log2(list(law.zeros)), np.log2(list(law.zeros.values()))
    drawn = None if any(draw is None for draw in draws) else np.stack([draw for draw in draws if draw is not None])
    weights = np.ones(len(zeros)) if drawn is None else _weights(drawn)
    away = budgets - np.average(budgets, weights=weights)
    slopes = weights * away / float(weights @ away**2)
    exponent = float(slopes @ zeros)
    level = float(np.average(zeros, weights=weights) - exponent * np.average(budgets, weights=weights))
    interval = (math.nan, math.nan)
    if drawn is not None:
        with np.errstate(invalid="ignore"):
            exponents = np.sum(slopes[:, None] * drawn, axis=0)
        # Two zeros beyond the range leave the exponent of a draw anywhere.
        low, high = (np.where(np.isnan(exponents), end, exponents) for end in (-math.inf, math.inf))
        ends = (np.quantile(low, (1 - LEVEL) / 2, method="inverted_cdf"),
                np.quantile(high, (1 + LEVEL) / 2, method="inverted_cdf"))  # fmt: skip
        interval = float(ends[0]), float(ends[1])
    return dataclasses.replace(law, exponent=exponent, interval=interval, factor=2.0**level)


def _weights(drawn: np.ndarray) -> np.ndarray:
    """Weights of crossovers by the middle half of their draws, ``[crossovers]``; equal ones where some are not told."""
    low, high = np.quantile(drawn, [0.25, 0.75], axis=1, method="inverted_cdf")
    widths = high - low
    return 1 / np.square(widths) if (np.isfinite(widths) & (widths > 0)).all() else np.ones(len(drawn))
