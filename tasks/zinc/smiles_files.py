"""Molecules from CSV files with a SMILES column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from tasks.kinds.local_files import PACKED, DamagedSource, LocalFiles, opened


class Row(NamedTuple):
    """One row of a file, not parsed yet.

    Attributes:
        smiles: the SMILES, without white space around it; empty if the row has none, or more cells than the header.
        where: file and line, for messages.
    """

    smiles: str
    where: str


@dataclass(frozen=True)
class SmilesFiles(LocalFiles):
    """CSV files, see `tasks.kinds.local_files`; every column but ``smiles`` is ignored."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", *(f".csv{packed}" for packed in PACKED))
    kind: ClassVar[str] = "CSV files with a column smiles"

    def rows(self) -> list[Row]:
        """All rows of all files.

        Raises:
            DamagedSource: a file cannot be read or has no column ``smiles``; the message names it.
        """
        return [row for path in self.files() for row in read_smiles(path)]


def read_smiles(path: Path) -> list[Row]:
    """The rows of one file.

    Raises:
        DamagedSource: as for `SmilesFiles.rows`.
    """
    with opened(path) as file:
        try:
            return _read(path, io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        except UnicodeDecodeError as error:
            raise DamagedSource(
                f"{path} must be a CSV file in UTF-8, but reading it failed ({error}); convert it."
            ) from error


def _read(path: Path, text: io.TextIOWrapper) -> list[Row]:
    records = _records(path, text)
    _, header = next(records, (0, []))
    names = [name.strip().lower() for name in header]
    if names.count("smiles") != 1:
        raise DamagedSource(
            f"{path} must have a first line with one column named smiles, got {', '.join(names)[:200] or 'nothing'}; "
            "add the line or rename the column."
        )
    column = names.index("smiles")
    return [
        Row(
            cells[column].strip() if len(cells) > column and not any(cells[len(names) :]) else "",
            f"{path.name} line {line}",
        )
        for line, cells in records
        if cells
    ]


def _records(path: Path, text: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row."""
    reader = csv.reader(text, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _unclosed(path, first, str(error)) from error
        # An opening quote that is not closed would swallow all lines up to the next quote.
        if any(end in cell.strip() for cell in cells for end in "\r\n"):
            raise _unclosed(path, first, f"a quoted cell that ends in line {reader.line_num}")
        yield reader.line_num, cells


def _unclosed(path: Path, line: int, got: str) -> DamagedSource:
    return DamagedSource(
        f"{path} line {line} must hold one row, every quote closed before the line ends, got {got}; correct the quotes."
    )
