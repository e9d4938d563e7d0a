"""Tables of a page beside its gaps: critical batch sizes, laws of tuned settings, effects of settings on the gap."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from result_texts import row

from suite.analysis.columns import Column, cells
from suite.analysis.law_columns import CRITICAL, EFFECTS, EXPLAINED, TUNED_LAWS
from suite.analysis.words import pair_text
from suite.api import SweepResults

TABLES: dict[str, tuple[Callable[[SweepResults], pd.DataFrame], list[Column]]] = {
    "critical": (lambda results: results.critical_batch_sizes, CRITICAL),
    "tuned_laws": (lambda results: results.tuned_laws, TUNED_LAWS),
    "effects": (lambda results: results.effects, EFFECTS),
    "explained": (lambda results: results.explained, EXPLAINED),
}
"""Name in ``tables`` of an answer -> the rows and the columns."""


def law_tables(results: SweepResults, names: list[str], rows_of: str | None = None) -> list[str]:
    """Lines of Markdown: the named tables, each led by the task and the pair of optimizers where there are several.

    Of a table that has the task or panel ``rows_of``, its rows alone are shown.

    Raises:
        ValueError: a name is unknown, or its table has no row.
    """
    lines: list[str] = []
    for name in names:
        if name not in TABLES:
            raise ValueError(f"A table should be one of {', '.join(TABLES)}, got {name!r}.")
        table_of, columns = TABLES[name]
        rows = table_of(results)
        if rows.empty:
            raise ValueError(f"The table {name!r} has no row.")
        rows = rows[rows["task"] == rows_of] if rows_of in set(rows["task"]) else rows
        lead = [Column("task", lambda one: one.task)] if rows["task"].nunique() > 1 else []
        if "challenger" in rows and "pair" not in [column.heading for column in columns]:
            several = len(rows[["reference", "challenger"]].drop_duplicates()) > 1
            lead += [Column("pair", lambda one: pair_text(one.reference, one.challenger))] if several else []
        head, body, _ = cells([*lead, *columns], rows.itertuples(index=False))
        lines += [row(head), "|" + "---|" * len(head), *map(row, body), ""]
    return lines
