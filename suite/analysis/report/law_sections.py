"""The sections of a report about laws: steps to a target loss, and what batch size, budget and settings change."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from suite.analysis.budget_law import crossover_table
from suite.analysis.columns import Column, cells
from suite.analysis.comparison import Comparison
from suite.analysis.critical import critical_sentences
from suite.analysis.gap import SERIES
from suite.analysis.law_columns import EFFECTS, EXPLAINED, TUNED_LAWS
from suite.analysis.report.page import Markup, bullets, element, section, table
from suite.analysis.target import target_sentences
from suite.analysis.verdict import LEVEL
from suite.analysis.words import (
    UNKNOWN,
    count_text,
    interval_text,
    number,
    optimizer_title,
    pair_text,
    range_text,
)

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


def laws_section(comparison: Comparison, figure: Markup) -> Markup:
    """How the tuned settings move with the batch size; nothing with fewer than three batch sizes."""
    laws = comparison.tuned_laws
    if laws.empty:
        return Markup("")
    task = [Column("task", lambda row: row.task, words=True)] if laws["task"].nunique() > 1 else []
    words = (
        "Power laws through the tuned settings; the scatter about them is at least that of values on a grid. Agrees: "
        "the interval holds the rule's power and excludes no dependence. That a half-life in tokens is kept is paper "
        "4's rule for Adam's beta2; on momenta and other betas it is applied here."
    )
    body = table(*cells([*task, *TUNED_LAWS], laws.itertuples(index=False)))
    return section("How the tuned settings move with the batch size", element("p", words), figure, body)


def budget_section(comparison: Comparison, figure: Markup) -> Markup:
    """The crossover's law over the budget; nothing for a sweep of one budget."""
    laws = comparison.budget_laws
    if not laws:
        return Markup("")
    several = len(comparison.families) > 1
    sentences = [law.sentence(named=several) for law in laws]
    columns = [
        *([Column("task", lambda row: row.task, words=True)] if several else []),
        Column("pair", lambda row: pair_text(row.reference, row.challenger), words=True),
        Column("budget", lambda row: f"{count_text(row.budget)} {row.unit}"),
        Column("crossover", lambda row: number(row.crossover, ".3g")),
        Column(f"{LEVEL:.0%} interval", lambda row: _sizes_text(row)),
    ]
    body = table(*cells(columns, crossover_table(laws).itertuples(index=False)))
    return section("The crossover over the budget", bullets(sentences), figure, body)


def collapse_section(comparison: Comparison, figure: Markup) -> Markup:
    """Whether the gap follows the number of steps or the batch size; nothing for a sweep of one budget."""
    collapsed = comparison.collapses
    if not collapsed:
        return Markup("")
    words = (
        "Large batches have few steps. Budgets tell the two apart: gaps that depend on one alone are the same where it "
        "is, but for their errors (F test)."
    )
    sentences = [one.sentence(named=len(comparison.families) > 1) for one in collapsed]
    return section("What the gap follows over the budgets", element("p", words), figure, bullets(sentences))


def _sizes_text(row: Any) -> str:
    if not row.claimed:
        return "no crossover is claimed"
    return UNKNOWN if math.isnan(row.low) else interval_text((row.low, row.high)).partition("interval ")[2]


def effects_section(comparison: Comparison, figure: Markup) -> Markup:
    """The effects on the gap of the settings that panels vary; nothing where none are."""
    effects, explained = comparison.effects
    if effects.empty:
        return Markup("")
    parts: list[object] = []
    for (task, reference, challenger), rows in effects.groupby(SERIES, sort=False):
        pair = pair_text(str(reference), str(challenger))
        several = effects["task"].nunique() > 1
        parts.append(element("p", f"{f'{task}, ' if several else ''}{pair}: positive effects move the gap towards "
                             f"{optimizer_title(str(challenger))}."))  # fmt: skip
        parts.append(table(*cells(EFFECTS, rows.itertuples(index=False))))
    words = (
        "An effect is the mean gap at a setting's value less that at its first value. It is named where its 95% "
        "interval excludes zero, as alone where that does not hold after Holm's correction for the number of effects. "
        "Its share of the gap is of the gap at all settings' first values as the effects and interactions fit it: at "
        "100% that is closed, below 0% it is widened. Explained: share of the variance of the gaps between panels; "
        "noise: what their errors alone would make of it."
    )
    return section(
        "Effects of the settings on the gap",
        element("p", words),
        figure,
        *parts,
        table(*cells(EXPLAINED, explained.itertuples(index=False))),
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
