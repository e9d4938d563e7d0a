"""Molecules from CSV files with a SMILES column."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from tasks.kinds.local_files import LocalFiles, opened


class Row(NamedTuple):
    """One row of a file, not parsed yet.

    Attributes:
        smiles: the SMILES, without white space around it.
        where: file and line, for messages.
    """

    smiles: str
    where: str


@dataclass(frozen=True)
class SmilesFiles(LocalFiles):
    """CSV files, see `tasks.kinds.local_files`; every column but ``smiles`` is ignored."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz")
    kind: ClassVar[str] = "CSV files with a column smiles"

    def rows(self) -> list[Row]:
        """All rows of all files.

        Raises:
            ValueError: a file cannot be read or has no column ``smiles``; the message names it.
        """
        return [row for path in self.files() for row in read_smiles(path)]


def read_smiles(path: Path) -> list[Row]:
    """The rows of one file.

    Raises:
        ValueError: as for `SmilesFiles.rows`.
    """
    with opened(path) as file:
        try:
            return _read(path, io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(
                f"{path} must be a CSV file in UTF-8, but reading it failed ({error}); convert it."
            ) from error


def _read(path: Path, text: io.TextIOWrapper) -> list[Row]:
    reader = csv.reader(text)
    header = [name.strip().lower() for name in next(reader, [])]
    if "smiles" not in header:
        raise ValueError(
            f"{path} must have a first line with a column named smiles, got {', '.join(header) or 'nothing'}; "
            "add the line or rename the column."
        )
    column = header.index("smiles")
    return [
        Row(cells[column].strip() if column < len(cells) else "", f"{path.name} line {reader.line_num}")
        for cells in reader
        if cells
    ]
