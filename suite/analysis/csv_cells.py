"""The rows of a CSV file of runs, and what their cells must hold; nothing in the file is evaluated."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suite.analysis.csv_text import restored
from suite.records.files import open_regular

_WORDS = (
    (re.compile(r"""['"]\s*nan\s*['"]""", re.IGNORECASE), "inf"),
    (re.compile(r"""['"]?\s*[+-]?inf(inity)?\s*['"]?""", re.IGNORECASE), "inf"),
    (re.compile(r"\b(none|null|nan)\b", re.IGNORECASE), "nan"),
    (re.compile(r"""['"]"""), ""),
)

MOST_WHOLE = 2**63 - 1
"""Largest whole number of a cell: tables hold them in 64 bits."""


def csv_rows(path: Path, *needed: str | tuple[str, ...]) -> Iterator[CsvRow]:
    """Every row of a CSV file that is not blank.

    Args:
        path: the file, in UTF-8; its first line names the columns.
        needed: columns that it must have; of several in a tuple, one of them.

    Raises:
        ValueError: the file cannot be read, is no CSV, lacks a column or names one twice.
    """
    csv.field_size_limit(sys.maxsize)
    try:
        with open_regular(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            columns = [(name,) if isinstance(name, str) else name for name in needed]
            if missing := [names[0] for names in columns if not set(names) & set(header)]:
                raise ValueError(
                    f"Expected the columns {', '.join(names[0] for names in columns)} in {path}, got none called "
                    f"{', '.join(missing)}; name them in the file's first line, which is {','.join(header)!r:.80}."
                )
            if twice := sorted({name for name in header if name and header.count(name) > 1}):
                raise ValueError(f"Expected every column once in {path}, got {', '.join(twice)} twice; rename one.")
            for number, cells in enumerate(reader, start=1):
                if cells and len(cells) != len(header):
                    raise csv.Error(f"row {number} has {len(cells)} cells under {len(header)} headings")
                if cells:
                    yield CsvRow(path, number, dict(zip(header, map(restored, cells), strict=True)))
    except csv.Error as error:
        raise ValueError(f"Expected a well-formed CSV, got {path}: {error}; export it again.") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"Expected a readable CSV file, got {path} ({reason}); name another.") from error


@dataclasses.dataclass(frozen=True)
class CsvRow:
    """One row of a CSV file.

    Attributes:
        file: the file.
        number: counted from 1; the header is not counted.
        cells: by column.
    """

    file: Path
    number: int
    cells: dict[str, str]

    def text(self, column: str, among: Sequence[str] = ()) -> str:
        """A cell without the blanks around it; empty where there is no such column.

        Args:
            column: its name.
            among: values that it may have if it is not empty; any, unless given.

        Raises:
            ValueError: the cell holds something else, as do all other methods.
        """
        text = self.cells.get(column, "").strip()
        if text and among and text not in among:
            raise self.refused(column, f"one of {', '.join(among)}")
        return text

    def whole(self, column: str, *, least: int, default: int | None = None) -> int:
        """A whole number of at least ``least``; ``default`` where the cell is empty and there is one."""
        text = self.text(column)
        if not text and default is not None:
            return default
        try:
            value = int(text)
        except ValueError:
            number = _float(text)
            value = int(number) if number.is_integer() else least - 1
        if not least <= value <= MOST_WHOLE:
            raise self.refused(column, "a positive whole number" if least > 0 else f"a whole number from {least} up")
        return value

    def value(self, column: str, kind: str, default: float | None = None) -> float:
        """A number of a kind of `KINDS`; ``default`` where the cell is empty and there is one."""
        text = self.text(column)
        if not text and default is not None:
            return default
        value = _float(text)
        if not is_kind(value, kind):
            raise self.refused(column, f"a number that is {KINDS[kind][0]}")
        return value

    def mapping(self, column: str) -> dict[str, Any]:
        """A JSON object."""
        try:
            value = json.loads(self.text(column), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self.refused(column, "a JSON object")
        return value

    def history(self, column: str) -> np.ndarray:
        """A list of losses, shape ``[points]``; see `parse_history`."""
        try:
            return parse_history(self.cells.get(column, ""))
        except ValueError as error:
            raise ValueError(f"Row {self.number}, column {column} of {self.file}: {error}") from error

    def refused(self, column: str, expected: str) -> ValueError:
        """The error for a cell that does not hold what it must."""
        got = f"{self.text(column)!r:.40}" if self.text(column) else "an empty cell"
        return ValueError(
            f"Expected {expected} in column '{column}' of row {self.number} of {self.file}, got {got}; "
            "correct the file."
        )


KINDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "rate": ("positive and finite", lambda value: value > 0),
    "momentum": ("at least 0 and below 1", lambda value: 0 <= value < 1),
    "share": ("from 0 to 1", lambda value: 0 <= value <= 1),
    "amount": ("finite and not negative", lambda value: value >= 0),
}
"""What numbers of a kind are, in words and as a test of a finite number."""


def is_kind(value: float, kind: str) -> bool:
    """Whether a number is what those of its kind are; see `KINDS`."""
    return math.isfinite(value) and KINDS[kind][1](value)


def parse_history(text: str) -> np.ndarray:
    """A loss history from its text, such as ``[3.2, 'NaN', nan, None]``, without evaluating any of it.

    Returns:
        Shape ``[points]``. A quoted ``'NaN'`` and infinities of either sign become +inf (the run logged a loss that was
        not finite); ``nan``, ``None`` and ``null`` become NaN (nothing was logged).

    Raises:
        ValueError: the text holds something that is not a number.
    """
    text = text.strip() or "[]"
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"Expected a list of numbers as a loss history, got {text!r:.60}.")
    numbers = text[1:-1].strip().rstrip(",")
    if any(sign in numbers for sign in "'\"NIni"):  # few histories hold a quote or a word
        for pattern, number in _WORDS:
            numbers = pattern.sub(number, numbers)
    try:
        return np.array([float(number) for number in numbers.split(",")] if numbers else [])
    except ValueError as error:
        raise ValueError(f"Expected a list of numbers as a loss history, got something else ({error}).") from error


def _float(text: str) -> float:
    """The number that a text holds; NaN where it holds none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
