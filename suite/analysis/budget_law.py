"""How the crossover moves with the budget: a power law through the crossovers of a sweep of several budgets.

Every budget has its own crossover (`suite.analysis.crossover`). Where two or more are claimed, the batch size at which
the gap passes zero is fitted as a power of the budget: least squares on logarithms, weighted by how well each crossover
is known. All crossovers are placed by one estimate: by the weighted line where every one of them has it, else by the
monotone interpolation. The interval of the exponent is that of the fits to the draws of the gaps within their errors
(`suite.analysis.crossover_interval`), the budgets' draws independent; a draw without a zero in range has one beyond it,
so that an interval may be open.

A budget without a claimed crossover may still *bound* it: where the optimizer that is better at small batches is so at
the largest one too, the crossover lies above it, and where the other is better at the smallest, below. Draws whose law
leads to the wrong side of a bound, itself drawn, are left out; where those are all but `1 - LEVEL` of them, no power
law holds. Budgets without either take no part and are named: a law that they would bend is not seen.

Paper 1's theory (section 5) has the crossover of SGD and Adam grow as the square root of the budget.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from suite.analysis.crossover import Crossover
from suite.analysis.crossover_interval import drawn_zeros
from suite.analysis.families import Family
from suite.analysis.gap import BASELINES, CHALLENGER
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
        bounds: between which batch sizes, 0 and infinity among them, the crossover of other budgets lies.
        exponent: of the budget; NaN with fewer than two crossovers.
        interval: of the exponent; NaN where it is not known.
        factor: the law's batch size at a budget of 1.
        bends: whether the bounds contradict every power law of the crossovers.
    """

    family: Family
    reference: str
    challenger: str
    crossovers: tuple[Crossover, ...]
    zeros: dict[float, float]
    spans: dict[float, tuple[float, float]]
    bounds: dict[float, tuple[float, float]] = dataclasses.field(default_factory=dict)
    exponent: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)
    factor: float = math.nan
    bends: bool = False

    @property
    def judgement(self) -> Judgement | None:
        """What the interval says of theory's exponent, open where it holds no dependence too; None without one."""
        low, high = self.interval
        if math.isnan(low) or self.bends:
            return None
        if not low <= THEORY <= high:
            return "contradicts"
        return "open" if low <= 0 <= high else "agrees"

    def sentence(self, *, named: bool = False) -> str:
        """The law in words, with the family's name in front where it is ``named``."""
        pair = pair_text(self.reference, self.challenger)
        pair = f"{self.family.name}: {pair}" if named else pair
        without = [
            self._at(budget)
            for budget, crossover in zip(self.family.budgets, self.crossovers, strict=True)
            if not crossover.claimed and budget not in self.bounds
        ]
        missing = f" No crossover is claimed at {listed(without)}." if without else ""
        bounds = {budget: _bound_text(*ends) for budget, ends in self.bounds.items()}
        texts = {budget: batch_size_text(zero) for budget, zero in self.zeros.items()} | bounds
        places = ", ".join(f"{texts[budget]} at {self._at(budget)}" for budget in sorted(texts))
        if math.isnan(self.exponent):
            there = f" It is {places}." if texts else ""
            return (
                f"{pair}: no law of the crossover over the budget, which takes two claimed crossovers.{there}{missing}"
            )
        law = f"{pair}: the crossover moves as the budget to the {self.exponent:.2f}"
        low, high = self.interval
        if math.isnan(low):
            return f"{law}, interval not known ({places}).{missing}"
        ends = " to ".join("any" if math.isinf(end) else f"{end:.2f}" for end in (low, high))
        if self.bends:
            return (
                f"{pair}: the crossover follows no power of the budget ({places}); without the bounds "
                f"{self.exponent:.2f} ({LEVEL:.0%} interval {ends}).{missing}"
            )
        theirs = {self.reference, self.challenger} <= {*BASELINES, CHALLENGER}
        theory = f"theory's {THEORY:g}" if theirs else f"the {THEORY:g} that paper 1 derives for SGD and Adam"
        said = {
            "agrees": f"{theory} lies within it, no dependence (0) does not",
            "contradicts": f"it contradicts {theory}" if theirs else f"it excludes {theory}",
            "open": f"{theory} and no dependence (0) both lie within it",
        }[self.judgement or "open"]
        return f"{law} ({LEVEL:.0%} interval {ends}; {places}): {said}.{missing}"

    def _at(self, budget: float) -> str:
        return f"{count_text(budget)} {self.family.unit}"


def _bound_text(low: float, high: float) -> str:
    return f"above {batch_size_text(low)}" if math.isinf(high) else f"below {batch_size_text(high)}"


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
    """One row per budget and pair, with the columns `POINTS`.

    Without a claimed crossover it is NaN, ``low`` and ``high`` are bounds where there are any, and the answer says why.
    """
    rows = []
    for law in laws:
        for budget, crossover in zip(law.family.budgets, law.crossovers, strict=True):
            key = [law.family.name, law.reference, law.challenger, law.family.unit, budget, crossover.claimed]
            low, high = law.spans.get(budget, law.bounds.get(budget, (math.nan, math.nan)))
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
        bounds=_bounds(family, crossovers),
    )
    return law if len(zeros) < 2 else _fitted(law, draws, _limits(gaps, law, by_line=by_line))


def _bounds(family: Family, crossovers: Sequence[Crossover]) -> dict[float, tuple[float, float]]:
    """Where the crossovers of budgets lie that have none claimed, by whom the claimed ones have at small batches."""
    small = {x.small_batch for x in crossovers if x.claimed}
    if len(small) != 1:
        return {}
    bounds: dict[float, tuple[float, float]] = {}
    for budget, x in zip(family.budgets, crossovers, strict=True):
        if x.claimed or x.batch_sizes is None or len(set(x.winners.values())) != 1:
            continue
        winner, (first, last) = x.small_batch, x.batch_sizes
        if winner in small and last in x.winners:
            bounds[budget] = (float(last), math.inf)
        elif winner not in small and first in x.winners:
            bounds[budget] = (0.0, float(first))
    return bounds


def _limits(gaps: pd.DataFrame, law: BudgetLaw, *, by_line: bool) -> dict[float, np.ndarray]:
    """What the draws of a bounded budget leave of its bound, in log2 of the batch size, by budget."""
    (small,) = {x.small_batch for x in law.crossovers if x.claimed}
    limits = {}
    for number, (budget, x) in enumerate(zip(law.family.budgets, law.crossovers, strict=True)):
        if budget in law.bounds:
            low, high = law.bounds[budget]
            both = drawn_zeros(_rows_of(gaps, x), falling=small == x.challenger, seed=len(law.family.budgets) + number)
            drawn = np.array([math.inf if math.isinf(high) else -math.inf]) if both is None else both[not by_line]
            limits[budget] = (
                np.minimum(drawn, math.log2(low)) if math.isinf(high) else np.maximum(drawn, math.log2(high))
            )
    return limits


def _rows_of(gaps: pd.DataFrame, crossover: Crossover) -> pd.DataFrame:
    """The finite gaps of a crossover, by batch size."""
    key = {"task": crossover.task, "reference": crossover.reference, "challenger": crossover.challenger}
    rows = gaps[np.logical_and.reduce([gaps[name] == value for name, value in key.items()])]
    return rows[np.isfinite(rows["relative_gap"].to_numpy(dtype=float))].sort_values("batch_size")


def _fitted(law: BudgetLaw, draws: Sequence[np.ndarray | None], limits: Mapping[float, np.ndarray]) -> BudgetLaw:
    """A law with its exponent, from the places of the crossovers, their draws and limits in log2 of the batch size."""
    budgets, zeros = np.log2(list(law.zeros)), np.log2(list(law.zeros.values()))
    drawn = None if any(draw is None for draw in draws) else np.stack([draw for draw in draws if draw is not None])
    weights = np.ones(len(zeros)) if drawn is None else _weights(drawn)
    weights = weights / weights.sum()
    centre = float(weights @ budgets)
    away = budgets - centre
    slopes = weights * away / float(weights @ away**2)
    exponent = float(slopes @ zeros)
    interval, bends = (math.nan, math.nan), False
    if drawn is not None:
        with np.errstate(invalid="ignore"):
            exponents, levels = np.sum(slopes[:, None] * drawn, axis=0), np.sum(weights[:, None] * drawn, axis=0)
        kept = _inside(law, limits, centre, levels, exponents)
        bends = bool(kept.mean() < 1 - LEVEL)
        if not bends:
            exponents = exponents[kept]
            ends_of = {budget: np.log2([high if low == 0 else low]) for budget, (low, high) in law.bounds.items()}
            if not _inside(law, ends_of, centre, np.array([weights @ zeros]), np.array([exponent])).all():
                exponent = float(np.nanmedian(exponents))
        # Two zeros beyond the range leave the exponent of a draw anywhere.
        low, high = (np.where(np.isnan(exponents), end, exponents) for end in (-math.inf, math.inf))
        ends = (np.quantile(low, (1 - LEVEL) / 2, method="inverted_cdf"),
                np.quantile(high, (1 + LEVEL) / 2, method="inverted_cdf"))  # fmt: skip
        interval = float(ends[0]), float(ends[1])
    level = float(weights @ zeros) - exponent * centre
    return dataclasses.replace(law, exponent=exponent, interval=interval, factor=2.0**level, bends=bends)


def _inside(
    law: BudgetLaw, limits: Mapping[float, np.ndarray], centre: float, levels: np.ndarray, exponents: np.ndarray
) -> np.ndarray:
    """Which of many laws, with their levels at the log2 of a budget in the centre, are on the right side of limits."""
    inside = np.ones(len(exponents), dtype=bool)
    for budget, limit in limits.items():
        with np.errstate(invalid="ignore"):
            past = levels + exponents * (math.log2(budget) - centre) - limit
        inside &= ~(past < 0 if math.isinf(law.bounds[budget][1]) else past > 0)
    return inside


def _weights(drawn: np.ndarray) -> np.ndarray:
    """Weights of crossovers by the middle half of their draws, ``[crossovers]``; equal ones where some are not told."""
    low, high = np.quantile(drawn, [0.25, 0.75], axis=1, method="inverted_cdf")
    widths = high - low
    return 1 / np.square(widths) if (np.isfinite(widths) & (widths > 0)).all() else np.ones(len(drawn))
