"""The section of a report on a branching sweep: its trunks, and the gap at every branch point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from suite.analysis.comparison import Comparison
from suite.analysis.report.page import Markup, element, section, table
from suite.analysis.report.sections import GAP_HEADINGS, gap_cells
from suite.analysis.words import number, optimizer_title, share_text


def branching_section(comparison: Comparison) -> Markup:
    """All gaps by trunk and branch point, and what became of the trunks; nothing for a sweep without a trunk."""
    if not comparison.points:
        return Markup("")
    gaps = comparison.branch_gaps
    keys = ["panel"] * (gaps["panel"].nunique() > 1) + ["trunk", "share"]
    keys += ["batch_size"] * (gaps["batch_size"].nunique() > 1)
    parts = [element("p", "Trunks: one optimizer at one setting, whose weights the branches start from.")]
    parts.append(_trunks(comparison.trunks))
    for (reference, challenger), rows in gaps.groupby(["reference", "challenger"], sort=False):
        names = optimizer_title(str(reference)), optimizer_title(str(challenger))
        words = f"Gap = {names[0]} \N{MINUS SIGN} {names[1]} of the branches; positive: {names[1]} better."
        columns = [*(_HEADINGS.get(key, key) for key in keys), *names, *GAP_HEADINGS]
        lines = [[*(_SHOWN.get(key, str)(row[key]) for key in keys), *gap_cells(row)] for _, row in rows.iterrows()]
        parts += [element("p", words), table(columns, lines, left=range(keys.index("share")))]
    return section("From the trunks", *parts)


_HEADINGS = {"share": "after", "batch_size": "batch size"}
_SHOWN: dict[str, Callable[[Any], str]] = {"trunk": optimizer_title, "share": share_text}


def _trunks(trunks: pd.DataFrame) -> Markup:
    rows = [
        [run.task, run.batch_size, run.seed, run.steps, run.status, number(run.loss, ".4f")]
        for run in trunks.itertuples(index=False)
    ]
    return table(["trunk", "batch size", "seed", "steps", "status", "its own final loss"], rows, left=(0, 4))
