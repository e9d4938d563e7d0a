"""The gap table for a terminal: plain text, at most 100 columns."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from suite.analysis.branches import branch_sentences
from suite.analysis.caveats import caveats, verdict_notes
from suite.analysis.columns import COUNTS, POINT, Column, cells
from suite.analysis.comparison import Comparison
from suite.analysis.critical import critical_sentences
from suite.analysis.crossover import Crossover
from suite.analysis.gap import SERIES
from suite.analysis.lr_width import lr_width_sentences
from suite.analysis.target import target_sentences
from suite.analysis.verdict import LEVEL
from suite.analysis.words import (
    UNKNOWN,
    count_text,
    edge_text,
    first_of,
    format_setting,
    grouped,
    loss_text,
    optimizer_title,
    plain_number,
    range_text,
    seeds_needed_text,
    series_names,
    verdict_text,
)
from suite.fields import escaped, one_line

WIDTH = 100

MOST_TABLES = 4
"""Largest number of pairs of optimizers that have a table each."""


def format_gap_table(comparison: Comparison) -> str:
    """Everything that `gap` prints: the gaps, the crossover, the winning settings and what was run.

    Returns:
        Lines of at most 100 columns, ended by a newline. Control characters of names are shown escaped.
    """
    with comparison.named():
        return _gap_table(comparison)


def _gap_table(comparison: Comparison) -> str:
    rests_on = [f"final loss: {comparison.final_losses}", comparison.seeds_text]
    heading = [comparison.title, comparison.subtitle, "; ".join(filter(None, rests_on))]
    blocks = [lines(*heading), *_tasks(comparison), *_branches(comparison)]
    several = comparison.tuned["task"].nunique() > 1
    for task, points in comparison.tuned.groupby("task", sort=False):
        blocks.append(_settings(comparison.task_title(str(task)) if several else "", points))
    blocks.append(lines(*comparison.budget_sentences))
    blocks.append(_to_target(comparison))
    blocks.append(lines(*first_of(lr_width_sentences(comparison.lr_widths, comparison.pairs))))
    notes = [textwrap.fill(note, WIDTH, initial_indent="- ", subsequent_indent="  ") for note in caveats(comparison)]
    return printable([*blocks, "\n".join(notes)])


def _to_target(comparison: Comparison) -> str:
    """Steps to the target loss where one was given, and critical batch sizes; the report has those of any other."""
    steps = comparison.to_target
    several = steps["task"].nunique() > 1
    critical = critical_sentences(comparison.critical, several=several) if comparison.targets else []
    if comparison.targets and not comparison.retrained.empty:
        return lines(*target_sentences(comparison.retrained), *critical)
    aimed = steps[steps["given"].astype(bool)]
    if aimed.empty:
        return ""
    columns = [
        *([Column("task", lambda row: row.task, words=True)] if several else []),
        *POINT,
        Column("steps", lambda row: count_text(row.steps) if row.outcome == "reached" else _until(row)),
        Column("95% interval", lambda row: range_text(row.steps_low, row.steps_high).replace(UNKNOWN, "-")),
        Column("samples", lambda row: count_text(row.samples).replace(UNKNOWN, "-")),
        Column("tokens", lambda row: count_text(row.tokens).replace(UNKNOWN, "-")),
        Column("sooner", lambda row: optimizer_title(row.sooner) if row.sooner else "", words=True),
    ]
    ordered = aimed.sort_values(["task", "batch_size"], kind="stable").itertuples(index=False)
    table = text_table(*cells(columns, ordered))
    return f"steps to a target loss\n\n{table}\n\n{lines(*target_sentences(aimed), *critical)}"


def _until(row: Any) -> str:
    return f"at most {count_text(row.steps)}" if row.outcome == "at most" else str(row.outcome)


def format_answers(comparison: Comparison) -> str:
    """What `sweep` prints at its end: the answer in a sentence per pair, and what its seeds allow to say."""
    with comparison.named():
        return _answers(comparison)


def _answers(comparison: Comparison) -> str:
    crossovers = comparison.crossovers_apart
    names = series_names([(x.task, x.reference, x.challenger) for x in crossovers])
    answers = branch_sentences(comparison.branch_gaps)
    answers += grouped([(name, x.sentence()) for name, x in zip(names, crossovers, strict=True)])
    return printable([lines(*answers), lines(*verdict_notes(comparison))]) if answers else ""


def lines(*sentences: str) -> str:
    """Sentences, each wrapped on lines of its own; empty ones are left out."""
    return "\n".join(line for sentence in sentences for line in textwrap.wrap(sentence, WIDTH))


def printable(blocks: Iterable[str]) -> str:
    """Blocks of text with a line between them, those that are empty left out, control characters escaped."""
    text = "\n\n".join(filter(None, blocks))
    return "\n".join(map(escaped, text.split("\n"))) + "\n"


def _tasks(comparison: Comparison) -> list[str]:
    crossovers = {(x.task, x.reference, x.challenger): x for x in comparison.crossovers}
    blocks = []
    apart = comparison.gaps[~comparison.gaps["task"].isin(list(comparison.points))]
    several = comparison.gaps["task"].nunique() > 1
    for task, of_task in apart.groupby("task", sort=False):
        head = f"{task}: gap" if several else "gap"
        pairs = list(of_task.groupby(SERIES[1:], sort=False))
        if len(pairs) > MOST_TABLES:
            blocks.append(_many_pairs(head, of_task, [x for x in comparison.crossovers if x.task == task]))
            continue
        for pair, gaps in pairs:
            names = [*map(str, pair)]
            answer = crossovers[str(task), names[0], names[1]].sentence()
            blocks.append(_gap_block(head, names, gaps, _gap_columns(*names), [answer]))
    if comparison.gaps.empty:
        blocks.append("There is no pair of optimizers to compare; list a second one under optimizers in the sweep.")
    return blocks


def _many_pairs(head: str, gaps: pd.DataFrame, crossovers: Sequence[Crossover]) -> str:
    """One table of all optimizers against the same one, and the answers, each once."""
    columns = _gap_columns(str(gaps["reference"].iloc[0]), "the other")
    columns.insert(0, Column("optimizer", lambda row: optimizer_title(row["challenger"]), words=True))
    ordered = gaps.sort_values("batch_size", kind="stable")
    answers = grouped([(optimizer_title(x.challenger), x.sentence()) for x in crossovers])
    pair = str(gaps["reference"].iloc[0]), "the other"
    return _gap_block(f"{head} of {len(crossovers)} optimizers", pair, ordered, columns, answers)


def _branches(comparison: Comparison) -> list[str]:
    """The gap at every branch point of every trunk."""
    if not comparison.points:
        return []
    where = [
        Column("trunk", lambda row: optimizer_title(row["trunk"]), words=True),
        Column("after", lambda row: row["after"]),
    ]
    blocks = []
    for key, gaps in comparison.branch_gaps.groupby(["panel", "reference", "challenger"], sort=False):
        panel, *pair = map(str, key)
        columns = [column for column in _gap_columns(*pair) if column.heading not in ("slowdown", "seeds needed")]
        head = f"{panel + ': ' if panel else ''}branches, gap"
        blocks.append(_gap_block(head, pair, gaps, where + columns, branch_sentences(gaps)))
    return blocks


def _gap_block(
    what: str, pair: Sequence[str], gaps: pd.DataFrame, columns: Sequence[Column], answers: Sequence[str]
) -> str:
    """One table of gaps under its heading, and the answers in sentences."""
    reference, challenger = map(optimizer_title, pair)
    signs = f"positive: {challenger} ahead, negative: {reference}; +/-: half the {LEVEL:.0%} interval"
    starred = any(_is_starred(row, role) for _, row in gaps.iterrows() for role in ("reference", "challenger"))
    star = ["* on the edge of the grid: not tuned"] if starred else []
    table = text_table(*cells(columns, (row for _, row in gaps.iterrows())))
    return f"{lines(f'{what} = {reference} - {challenger}; {signs}')}\n\n{table}\n\n{lines(*star, *answers)}"


def _gap_columns(reference: str, challenger: str) -> list[Column]:
    def loss(role: str) -> Callable[[pd.Series], str]:
        return lambda row: loss_text(row[f"{role}_loss"]) + ("*" if _is_starred(row, role) else " ")

    return [
        Column("batch size", lambda row: str(row["batch_size"])),
        Column(optimizer_title(reference), loss("reference")),
        Column(optimizer_title(challenger), loss("challenger")),
        Column("gap", lambda row: plain_number(row["gap"], "+.4f")),
        Column("+/-", lambda row: plain_number(row["uncertainty"])),
        Column("gap %", lambda row: plain_number(row["relative_gap"], "+.2f")),
        Column("verdict", verdict_text),
        Column("slowdown", lambda row: plain_number(row["slowdown"], ".0%")),
        Column("seeds needed", lambda row: seeds_needed_text(row).replace(UNKNOWN, "-")),
        Column("", lambda row: "provisional" if row["provisional"] else ""),
    ]


def _is_starred(row: pd.Series, role: str) -> bool:
    """Whether a tuned point lies on an edge; where every setting diverged there is no tuned point."""
    return bool(row[f"{role}_edges"]) and math.isfinite(row[f"{role}_loss"])


def _settings(task: str, points: pd.DataFrame) -> str:
    columns = [
        *POINT,
        Column("tuned setting", _setting, words=True),
        Column("edge", lambda point: edge_text(point.edges) if math.isfinite(point.loss) else "", words=True),
        *COUNTS,
    ]
    head = f"{one_line(task)}: tuned settings" if task else "tuned settings"
    return f"{head}\n\n{text_table(*cells(columns, points.itertuples(index=False)))}"


def _setting(point: Any) -> str:
    if not point.seeds:
        return "no result"
    return format_setting(point.setting) if math.isfinite(point.loss) else "none"


def text_table(head: list[str], rows: list[list[str]], left: Iterable[int] = ()) -> str:
    """Columns aligned right, or left where asked; the widest are wrapped to keep to `WIDTH`, between words first."""
    left = set(left)
    keep = [i for i, name in enumerate(head) if name not in ("", "edge") or any(row[i] for row in rows)]
    widths = {i: max(len(head[i]), *(len(row[i]) for row in rows)) for i in keep}
    excess = sum(widths.values()) + 2 * (len(keep) - 1) - WIDTH
    longest = {
        i: max(len(word) for cell in (head[i], *(r[i] for r in rows)) for word in [*cell.split(), ""]) for i in keep
    }
    for least in (longest, dict.fromkeys(keep, 8)):
        for widest in sorted(widths, key=lambda i: -widths[i]):
            taken = max(0, min(excess, widths[widest] - least[widest]))
            widths[widest], excess = widths[widest] - taken, excess - taken
    written = []
    for row in (head, ["-" * widths.get(i, 0) for i in range(len(head))], *rows):
        wrapped = [textwrap.wrap(row[i], widths[i]) or [""] for i in keep]
        for line in itertools.zip_longest(*wrapped, fillvalue=""):
            padded = [c.ljust(widths[i]) if i in left else c.rjust(widths[i]) for i, c in zip(keep, line, strict=True)]
            written.append("  ".join(padded).rstrip())
    return "\n".join(written)
