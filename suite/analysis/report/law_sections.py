"""The sections of a report about laws: steps to a target loss, and what batch size, budget and settings change."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from suite.analysis.columns import Column, cells
from suite.analysis.comparison import Comparison
from suite.analysis.critical import critical_sentences
from suite.analysis.report.page import Markup, bullets, element, section, table
from suite.analysis.target import target_sentences
from suite.analysis.verdict import LEVEL
from suite.analysis.words import UNKNOWN, count_text, number, optimizer_title, range_text

_OUTCOMES = {"not reached": "not reached", "diverged": "diverged", "no curve": "no curve", "no result": "no result"}


def target_section(comparison: Comparison, figure: Markup) -> Markup:
    """Steps to the target loss within the runs, and critical batch sizes where no budget was made for the target."""
    steps = comparison.to_target
    if not steps["outcome"].isin(["reached", "at most"]).any():
        return Markup("")
    words = (
        "Read off the tuned points' curves, whose learning-rate schedules are made for the whole budget: a target that "
        "is reached early was not trained for."
    )
    sentences = target_sentences(steps)
    if comparison.retrained.empty:
        sentences += critical_sentences(comparison.critical, several=steps["task"].nunique() > 1)
    parts = [element("p", words), figure, bullets(sentences), _steps_table(steps)]
    return section("Steps to a target loss", *parts)


def retrained_section(comparison: Comparison, figure: Markup) -> Markup:
    """The budgets that the target takes where they were made for it; nothing for a sweep of one budget."""
    steps = comparison.retrained
    if steps.empty:
        return Markup("")
    words = (
        "Every point is tuned and trained anew at every budget, its schedule made for that budget; the budget that the "
        "target takes is interpolated between the tuned losses."
    )
    several = steps["task"].nunique() > 1
    sentences = target_sentences(steps, "the tuned loss that most points have between their budgets")
    sentences += critical_sentences(comparison.critical, several=several)
    return section(
        "The budget that a target loss takes", element("p", words), figure, bullets(sentences), _steps_table(steps)
    )


def _steps_table(steps: pd.DataFrame) -> Markup:
    """Steps, tokens and who is sooner, a row per batch size and optimizer."""
    several = steps["task"].nunique() > 1
    has_tokens, has_seconds = steps["tokens"].notna().any(), steps["seconds"].notna().any()
    unit = "tokens" if has_tokens else "samples"
    columns = [
        *([Column("task", lambda row: row.task, words=True)] if several else []),
        Column("batch size", lambda row: row.batch_size),
        Column("optimizer", lambda row: optimizer_title(row.optimizer), words=True),
        Column("steps", _steps_text),
        Column(f"{LEVEL:.0%} interval", lambda row: range_text(row.steps_low, row.steps_high)),
        Column(unit, lambda row: count_text(getattr(row, unit))),
        *([Column("seconds", lambda row: number(row.seconds, ".3g"))] if has_seconds else []),
        Column("times sooner", _ratio_text),
        Column("sooner", lambda row: _sooner_text(row), words=True),
        Column("seeds", lambda row: row.seeds),
    ]
    ordered = steps.sort_values("batch_size", kind="stable")
    if several:
        order = {task: number for number, task in enumerate(steps["task"].drop_duplicates())}
        ordered = ordered.sort_values("task", key=lambda tasks: tasks.map(order), kind="stable")
    return table(*cells(columns, ordered.itertuples(index=False)))


def _steps_text(row: Any) -> str:
    if row.outcome in _OUTCOMES:
        return _OUTCOMES[row.outcome]
    return f"at most {count_text(row.steps)}" if row.outcome == "at most" else count_text(row.steps)


def _ratio_text(row: Any) -> str:
    if math.isnan(row.ratio):
        return UNKNOWN
    if math.isnan(row.ratio_low):
        return f"{row.ratio:.2f}"
    return f"{row.ratio:.2f} ({number(row.ratio_low, '.2f')} to {number(row.ratio_high, '.2f')})"


def _sooner_text(row: Any) -> str:
    if row.sooner is not None:
        return optimizer_title(row.sooner)
    return UNKNOWN if row.optimizer == row.reference or row.reference is None or math.isnan(row.ratio) else "open"
