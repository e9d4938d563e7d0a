"""The section of a report on a branching sweep: its trunks, and the gap at every branch point."""

from __future__ import annotations

import pandas as pd

from suite.analysis.comparison import Comparison
from suite.analysis.report.page import Markup, Tipped, element, section, table
from suite.analysis.report.sections import better_markup
from suite.analysis.words import format_setting, loss_text, number, optimizer_title, share_text


def branching_section(comparison: Comparison) -> Markup:
    """All gaps by trunk and branch point, and what became of the trunks; nothing for a sweep without a trunk."""
    if not comparison.points:
        return Markup("")
    gaps = comparison.branch_gaps
    several = {name: gaps[name].nunique() > 1 for name in ("panel", "batch_size")}
    parts = [element("p", "Trunks: one optimizer at one setting, whose weights the branches start from.")]
    parts.append(_trunks(comparison.trunks))
    for (reference, challenger), rows in gaps.groupby(["reference", "challenger"], sort=False):
        names = optimizer_title(str(reference)), optimizer_title(str(challenger))
        head = [*(["panel"] if several["panel"] else []), "trunk", "after"]
        head += ["batch size"] if several["batch_size"] else []
        words = f"Gap = {names[0]} \N{MINUS SIGN} {names[1]} of the branches; positive: {names[1]} better."
        columns = [*head, *names, "gap", "uncertainty", "relative gap", "better"]
        lines = [_gap_line(row, several) for _, row in rows.iterrows()]
        parts += [element("p", words), table(columns, lines, left=(0, 1) if several["panel"] else (0,))]
    return section("From the trunks", *parts)


def _gap_line(row: pd.Series, several: dict[str, bool]) -> list[object]:
    return [
        *([row["panel"]] if several["panel"] else []),
        optimizer_title(row["trunk"]),
        share_text(row["share"]),
        *([row["batch_size"]] if several["batch_size"] else []),
        Tipped(loss_text(row["reference_loss"]), format_setting(row["reference_setting"])),
        Tipped(loss_text(row["challenger_loss"]), format_setting(row["challenger_setting"])),
        number(row["gap"], "+.4f"),
        number(row["uncertainty"], ".4f"),
        number(row["relative_gap"], "+.2f", " %"),
        better_markup(row),
    ]


def _trunks(trunks: pd.DataFrame) -> Markup:
    rows = [
        [run.task, run.batch_size, run.seed, run.steps, run.status, number(run.loss, ".4f")]
        for run in trunks.itertuples(index=False)
    ]
    return table(["trunk", "batch size", "seed", "steps", "status", "its own final loss"], rows, left=(0, 4))
