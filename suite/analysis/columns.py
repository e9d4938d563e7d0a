"""Columns of a table as terminal and page show it: a heading beside what stands under it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from suite.analysis.words import optimizer_title


class Column(NamedTuple):
    """One column.

    Attributes:
        heading: above it.
        show: makes its cell from a row.
        words: whether it holds words, which are aligned left; numbers are aligned right.
    """

    heading: str
    show: Callable[[Any], object]
    words: bool = False


def cells(columns: Sequence[Column], rows: Iterable[Any]) -> tuple[list[str], list[list[Any]], list[int]]:
    """The headings of a table, its cells row by row, and the indices of the columns that hold words."""
    body = [[column.show(row) for column in columns] for row in rows]
    return [column.heading for column in columns], body, [i for i, column in enumerate(columns) if column.words]


POINT = [
    Column("batch size", lambda row: str(row.batch_size)),
    Column("optimizer", lambda row: optimizer_title(row.optimizer), words=True),
]
"""The point of a grid that a row is about."""

COUNTS = [
    Column("finished", lambda point: str(point.finished)),
    Column("diverged", lambda point: str(point.diverged)),
    Column("no result", lambda point: str(point.failed + point.interrupted + point.missing)),
]
"""What became of the runs of a tuned point."""
