"""Tables of a page beside its gaps: critical batch sizes, laws of tuned settings, effects of settings on the gap."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
from result_texts import row

from suite.analysis.tuned_laws import quantity_title
from suite.analysis.words import UNKNOWN, number, optimizer_title, pair_text
from suite.api import SweepResults

Cells = dict[str, Callable[[Any], Any]]
"""Heading of a column -> its cell of a row."""


def _ends(low: float, high: float, form: str) -> str:
    return UNKNOWN if math.isnan(low) else f"{number(low, form)} to {number(high, form)}"


def _critical(point: Any) -> str:
    if not point.fits:
        return "contradicted by the steps"
    return "beyond all" if math.isinf(point.critical) else number(point.critical, ".3g")


CRITICAL: Cells = {
    "optimizer": lambda point: optimizer_title(point.optimizer),
    "halving stops between": lambda point: (
        UNKNOWN if math.isnan(point.stops_from) else f"{point.stops_from:g} and {point.stops_at:g}"
    ),
    "steps fall there as the power": lambda point: number(point.power, ".2f"),
    "critical batch size": _critical,
    "95% interval": lambda point: _ends(point.critical_low, point.critical_high, ".3g"),
}

JUDGED = {"agrees": "held", "contradicts": "refuted", "open": "open", "": UNKNOWN}

TUNED: Cells = {
    "optimizer": lambda law: optimizer_title(law.optimizer),
    "setting": lambda law: quantity_title(law.quantity),
    "power of the batch size": lambda law: number(law.exponent, "+.2f"),
    "95% interval": lambda law: _ends(law.low, law.high, "+.2f"),
    "rule": lambda law: f"{law.rule}: {law.rule_exponent:g}" if law.rule else UNKNOWN,
    "the rule is": lambda law: JUDGED[law.judgement],
    "points on an edge": lambda law: law.on_edge,
}

EFFECTS: Cells = {
    "batch size": lambda effect: effect.batch_size,
    "effect of": lambda effect: effect.effect_of,
    "on the gap, %": lambda effect: number(effect.effect, "+.2f"),
    "95% interval": lambda effect: _ends(effect.low, effect.high, "+.2f"),
    "p": lambda effect: number(effect.p, ".2g"),
}

EXPLAINED: Cells = {
    "batch size": lambda summary: summary.batch_size,
    "gap at the first values, %": lambda summary: number(summary.gap_at_first, "+.2f"),
    "95% interval": lambda summary: _ends(summary.gap_low, summary.gap_high, "+.2f"),
    "explained by effects, %": lambda summary: number(100 * summary.explained_by_effects, ".0f"),
    "with interactions, %": lambda summary: number(100 * summary.explained_with_interactions, ".0f"),
    "noise, %": lambda summary: number(100 * summary.noise_share, ".0f"),
}

TABLES: dict[str, tuple[Callable[[SweepResults], pd.DataFrame], Cells]] = {
    "critical": (lambda results: results.critical_batch_sizes, CRITICAL),
    "tuned_laws": (lambda results: results.tuned_laws, TUNED),
    "effects": (lambda results: results.effects, EFFECTS),
    "explained": (lambda results: results.explained, EXPLAINED),
}
"""Name in ``tables`` of an answer -> the rows and the columns."""


def law_tables(results: SweepResults, names: list[str]) -> list[str]:
    """Lines of Markdown: the named tables, each led by the task where there are several and by the pair of optimizers.

    Raises:
        ValueError: a name is unknown, or its table has no row.
    """
    lines: list[str] = []
    for name in names:
        if name not in TABLES:
            raise ValueError(f"A table should be one of {', '.join(TABLES)}, got {name!r}.")
        rows_of, columns = TABLES[name]
        rows = rows_of(results)
        if rows.empty:
            raise ValueError(f"The table {name!r} has no row.")
        cells = dict(columns)
        if "reference" in rows and len(rows[["reference", "challenger"]].drop_duplicates()) > 1:
            cells = {"pair": lambda one: pair_text(one.reference, one.challenger), **cells}
        if rows["task"].nunique() > 1:
            cells = {"task": lambda one: one.task, **cells}
        lines += [row(list(cells)), "|" + "---|" * len(cells)]
        lines += [row([cell(one) for cell in cells.values()]) for one in rows.itertuples(index=False)]
        lines.append("")
    return lines
