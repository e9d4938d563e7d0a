"""The gap table for a terminal: plain text, at most 100 columns."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from suite.analysis.branches import branch_sentences
from suite.analysis.caveats import caveats
from suite.analysis.comparison import Comparison
from suite.analysis.crossover import Crossover
from suite.analysis.lr_width import lr_width_sentences
from suite.analysis.words import edge_text, format_setting, optimizer_title, share_text

WIDTH = 100


def format_gap_table(comparison: Comparison) -> str:
    """Everything that `gap` prints: the gaps, the crossover, the winning settings and what was run.

    Returns:
        Lines of at most 100 columns, ended by a newline. Control characters of names are shown escaped.
    """
    blocks = [_heading(comparison)]
    if comparison.points:
        blocks += _branches(comparison)
    else:
        blocks += _tasks(comparison)
    widths = lr_width_sentences(comparison.lr_widths, comparison.pairs)
    blocks.append("\n".join(textwrap.fill(sentence, WIDTH) for sentence in widths))
    notes = [textwrap.fill(note, WIDTH, initial_indent="- ", subsequent_indent="  ") for note in caveats(comparison)]
    blocks.append("\n".join(notes))
    text = "\n\n".join(block for block in blocks if block)
    return "".join(x if x == "\n" or x.isprintable() else f"\\x{ord(x):02x}" for x in text) + "\n"


def _tasks(comparison: Comparison) -> list[str]:
    blocks = []
    for (task, reference, challenger), gaps in comparison.gaps.groupby(["task", "reference", "challenger"], sort=False):
        found = next(
            x for x in comparison.crossovers if (x.task, x.reference, x.challenger) == (task, reference, challenger)
        )
        blocks.append(_gaps(gaps, found))
    if comparison.gaps.empty:
        blocks.append("There is no pair of optimizers to compare; list a second one under optimizers in the sweep.")
    for task, points in comparison.tuned.groupby("task", sort=False):
        blocks.append(_settings(str(task), points))
    return blocks


def _branches(comparison: Comparison) -> list[str]:
    """The gap at every branch point of every trunk, and the winning settings."""
    blocks = []
    for (panel, reference, challenger), gaps in comparison.branch_gaps.groupby(
        ["panel", "reference", "challenger"], sort=False
    ):
        names = optimizer_title(str(reference)), optimizer_title(str(challenger))
        where: list[Column] = [
            ("trunk", lambda row: optimizer_title(row["trunk"])),
            ("after", lambda row: share_text(row["share"])),
        ]
        columns = [
            *where,
            *(column for column in _gap_columns(*names) if column[0] not in ("slowdown", "seeds needed")),
        ]
        rows = [[show(row) for _, show in columns] for _, row in gaps.iterrows()]
        head = f"{panel + ': ' if panel else ''}branches, gap = {names[0]} - {names[1]}; {_signs(*names)}"
        lines = [*textwrap.wrap(head, WIDTH), "", text_table([name for name, _ in columns], rows, left=(0,)), ""]
        lines += _starred(gaps)
        lines += [line for said in branch_sentences(gaps) for line in textwrap.wrap(said, WIDTH)]
        blocks.append("\n".join(lines))
    for task, points in comparison.tuned.groupby("task", sort=False):
        blocks.append(_settings(str(task), points))
    return blocks


def _heading(comparison: Comparison) -> str:
    seeds = ", ".join(map(str, sorted(comparison.runs["seed"].unique())))
    lines = textwrap.wrap(comparison.title, WIDTH) + textwrap.wrap(comparison.subtitle, WIDTH)
    return "\n".join([*lines, *textwrap.wrap(f"final loss: {comparison.final_losses}; seeds: {seeds}", WIDTH)])


Column = tuple[str, Callable[[pd.Series], str]]
"""Heading, and what it shows of a row."""


def _gap_columns(reference: str, challenger: str) -> list[Column]:
    return [
        ("batch size", lambda row: str(row["batch_size"])),
        (reference, lambda row: loss_text(row["reference_loss"]) + _mark(row["reference_edges"])),
        (challenger, lambda row: loss_text(row["challenger_loss"]) + _mark(row["challenger_edges"])),
        ("gap", lambda row: _signed(row["gap"], ".4f")),
        ("+/-", lambda row: _number(row["uncertainty"], ".4f")),
        ("gap %", lambda row: _signed(row["relative_gap"], ".2f")),
        ("better", better_text),
        ("slowdown", lambda row: _number(row["slowdown"], ".0%")),
        ("seeds needed", lambda row: _number(row["seeds_needed"], ".0f")),
        ("", lambda row: "provisional" if row["provisional"] else ""),
    ]


def _gaps(gaps: pd.DataFrame, found: Crossover) -> str:
    reference, challenger = optimizer_title(found.reference), optimizer_title(found.challenger)
    columns = _gap_columns(reference, challenger)
    rows = [[show(row) for _, show in columns] for _, row in gaps.iterrows()]
    head = f"{found.task}: gap = {reference} - {challenger}; {_signs(reference, challenger)}"
    lines = [*textwrap.wrap(head, WIDTH), "", text_table([name for name, _ in columns], rows), ""]
    lines += _starred(gaps)
    lines += textwrap.wrap("Crossover: " + found.sentence(), WIDTH)
    lines += textwrap.wrap(found.estimates(), WIDTH)
    return "\n".join(lines)


def _signs(reference: str, challenger: str) -> str:
    return f"positive: {challenger} better, negative: {reference} better"


def _starred(gaps: pd.DataFrame) -> list[str]:
    starred = gaps["reference_edges"].map(len).any() or gaps["challenger_edges"].map(len).any()
    return ["* on the edge of the grid: not tuned"] if starred else []


def better_text(row: pd.Series) -> str:
    """Who is better at one batch size, or why that cannot be said."""
    if row["better"] is not None:
        return optimizer_title(row["better"])
    if math.isnan(row["gap"]):
        both = math.isinf(row["reference_loss"]) and math.isinf(row["challenger_loss"])
        return "both diverged" if both else "no result"
    return "not resolved"


def _settings(task: str, points: pd.DataFrame) -> str:
    rows = [
        [
            str(point.batch_size),
            optimizer_title(point.optimizer),
            _winner(point),
            edge_text(point.edges),
            str(point.finished),
            str(point.diverged),
            str(point.failed + point.interrupted + point.missing),
        ]
        for point in _rows(points)
    ]
    head = ["batch size", "optimizer", "winning setting", "edge", "finished", "diverged", "no result"]
    return "\n".join([f"{task}: winning settings", "", text_table(head, rows, left=(1, 2, 3))])


def _winner(point: Any) -> str:
    if not point.seeds:
        return "no result"
    return format_setting(point.setting) if math.isfinite(point.loss) else "none"


def text_table(head: list[str], rows: list[list[str]], left: Iterable[int] = ()) -> str:
    """Columns aligned right, or left where asked; the widest text column is wrapped to keep to `WIDTH`."""
    keep = [i for i in range(len(head)) if head[i] or any(row[i] for row in rows)]
    keep = [i for i in keep if head[i] != "edge" or any(row[i] for row in rows)]
    widths = {i: max(len(head[i]), *(len(row[i]) for row in rows)) for i in keep}
    excess = sum(widths.values()) + 2 * (len(keep) - 1) - WIDTH
    if excess > 0:
        widest = max(widths, key=lambda i: widths[i])
        widths[widest] = max(8, widths[widest] - excess)
    lines = []
    for row in (head, ["-" * widths.get(i, 0) for i in range(len(head))], *rows):
        wrapped = [textwrap.wrap(row[i], widths[i]) or [""] for i in keep]
        for cells in itertools.zip_longest(*wrapped, fillvalue=""):
            padded = [
                cell.ljust(widths[i]) if i in tuple(left) else cell.rjust(widths[i])
                for i, cell in zip(keep, cells, strict=True)
            ]
            lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def loss_text(loss: float) -> str:
    """A final loss; ``diverged`` where no setting has a finite one."""
    return "diverged" if math.isinf(loss) else _number(loss, ".4f")


def _mark(edges: Sequence[tuple[str, str]]) -> str:
    return "*" if edges else " "


def _signed(value: float, form: str) -> str:
    return _number(value, "+" + form)


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _rows(table: pd.DataFrame) -> Iterable[Any]:
    return table.itertuples(index=False)
