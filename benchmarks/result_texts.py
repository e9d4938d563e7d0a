"""Hand-written texts of `docs/results`, held to the tables.

A text takes its numbers from the tables by marks: ``{gap 4}`` is the gap at batch size 4 in percent, ``{verdict 4}``
the verdict; where there are several tasks (or panels) or optimizers, ``{gap zinc/gat 64}``, ``{gap 4 muon}``. A
percentage that is not a mark's is refused: it would go stale. ``figures`` names those of a report, ``tables`` those of
`law_tables`, and ``rows_of`` the one task or panel that the page shows; all are in ``gap.csv``. A judgement over
a paper's claim names the verdicts that it rests on, and is refused where one of them is another now, or is no verdict:

    claim: "paper 1: SGD ahead at small batch sizes, Adam at large ones"
    judgement: agrees            # or contradicts, open, not comparable
    rests_on: {"1": SGD better, "256": Adam better}
    because: a sentence
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pandas as pd

from suite.analysis.words import counted, number, optimizer_title, verdict_text
from suite.api import SweepResults

JUDGEMENTS = ("agrees", "contradicts", "open", "not comparable")

_MOST_ANSWERS = 6
"""Answers beyond which their verdicts are counted."""

_MARK = re.compile(r"\{(gap|verdict|loss) ([^{}]+)\}")


def row(cells: list[Any]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def wrapped(paragraph: str) -> str:
    """A paragraph in lines of 120 characters."""
    return textwrap.fill(" ".join(paragraph.split()), 120, break_long_words=False, break_on_hyphens=False)


def gap_at(gaps: pd.DataFrame, where: str) -> dict[str, Any]:
    """The one row of a table of gaps that a mark means: its task, batch size and challenger, as far as it names them.

    Raises:
        ValueError: no row, or several, are meant.
    """
    rows = gaps
    task = max((str(task) for task in set(gaps["task"]) if f"{where} ".startswith(f"{task} ")), key=len, default="")
    if task:
        rows = rows[rows["task"] == task]
    for word in where.removeprefix(task).split():
        column = "batch_size" if word.isdecimal() else "challenger"
        rows = rows[rows[column].astype(str) == word]
    if len(rows) != 1:
        raise ValueError(f"{where!r} should mean one gap of the table, but means {len(rows)}.")
    return {str(name): value for name, value in rows.iloc[0].items()}


def filled(text: str, gaps: pd.DataFrame) -> str:
    """A text with its marks replaced.

    Raises:
        ValueError: a mark means no gap, or the text has a percentage of its own.
    """
    if own := re.search(r"\S*\d\s?%", _MARK.sub("", text)):
        raise ValueError(f"The percentage {own[0]!r} should be a mark, such as {{gap 4}}: written out it goes stale.")

    def value(mark: re.Match[str]) -> str:
        gap = gap_at(gaps, mark[2])
        if mark[1] == "verdict":
            return verdict_text(gap)
        return number(gap["relative_gap"], "+.1f", "%") if mark[1] == "gap" else number(gap["reference_loss"], ".3f")

    return _MARK.sub(value, text)


def answer_of(results: SweepResults, rows_of: str | None = None) -> str:
    """The answer in the suite's own words, of all tasks and panels or of one; of many the verdicts, counted."""
    crossovers = results.crossovers
    if rows_of is not None:
        crossovers = crossovers[crossovers["task"] == rows_of]
    if crossovers["answer"].nunique() == 1:
        return str(crossovers["answer"].iloc[0])
    if len(crossovers) > _MOST_ANSWERS:
        return _counted(results.gaps[results.gaps["task"].isin(set(crossovers["task"]))])
    leads = [
        crossovers["task"].astype(str) if crossovers["task"].nunique() > 1 else None,
        crossovers["challenger"].map(optimizer_title) if crossovers["challenger"].nunique() > 1 else None,
    ]
    names = [", ".join(name) for name in zip(*(lead for lead in leads if lead is not None), strict=True)]
    return " ".join(f"{name}: {answer}" for name, answer in zip(names, crossovers["answer"], strict=True))


def _counted(gaps: pd.DataFrame) -> str:
    """How many gaps have which verdict."""
    better = gaps[gaps["verdict"] == "better"]["better"].value_counts()
    parts = [f"{optimizer_title(str(label))} is better in {count}" for label, count in better.items()]
    others = gaps[gaps["verdict"] != "better"]["verdict"].value_counts()
    words = {"level": ("is level", "are level"), "leans": ("leans", "lean"), "open": ("is open", "are open")}
    parts += [counted(count, *words[str(kind)]) for kind, count in others.items()]
    return f"Of {len(gaps)} gaps: {', '.join(parts)}."


def judged(answer: dict[str, Any], gaps: pd.DataFrame) -> str:
    """The judgement over a paper's claim, in a sentence; empty where there is none.

    Raises:
        ValueError: it rests on a verdict that is another one now, or on one that decides nothing.
    """
    if "judgement" not in answer:
        return ""
    judgement, rests_on = answer["judgement"], answer.get("rests_on") or {}
    if judgement not in JUDGEMENTS:
        raise ValueError(f"A judgement should be one of {', '.join(JUDGEMENTS)}, got {judgement!r}.")
    for where, expected in rests_on.items():
        verdict = verdict_text(gap_at(gaps, str(where)))
        if verdict != expected:
            raise ValueError(f"{answer['title']}: a judgement rests on {expected!r} at {where}; it is {verdict!r} now.")
        if judgement in JUDGEMENTS[:2] and (verdict == "open" or verdict.startswith("leans")):
            raise ValueError(f"{answer['title']}: {verdict!r} at {where} carries no judgement but open.")
    if judgement in JUDGEMENTS[:2] and not rests_on:
        raise ValueError(f"{answer['title']}: {judgement!r} should name the verdicts that it rests on.")
    because = f" {filled(answer['because'], gaps).strip()}" if answer.get("because") else ""
    return f"{judgement[0].upper()}{judgement[1:]} ({answer['claim']}).{because}"
