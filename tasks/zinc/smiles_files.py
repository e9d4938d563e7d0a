"""Molecules from CSV files with a SMILES column."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SUFFIXES = (".csv", ".csv.gz")


class Row(NamedTuple):
    """One row of a file, not parsed yet.

    Attributes:
        smiles: without white space around it.
        where: file and line, for messages.
    """

    smiles: str
    where: str


@dataclass(frozen=True)
class SmilesFiles:
    """One CSV file, or all of a folder; every column but ``smiles`` is ignored.

    Attributes:
        path: the file or folder.
    """

    path: Path

    label = "files"

    def files(self) -> list[Path]:
        """The files that are read, in order.

        Raises:
            ValueError: there are none.
        """
        if self.path.is_dir():
            files = sorted(p for p in self.path.iterdir() if p.name.lower().endswith(SUFFIXES) and p.is_file())
        else:
            files = [self.path] if self.path.is_file() and self.path.name.lower().endswith(SUFFIXES) else []
        if not files:
            raise ValueError(
                f"data.source must be paper, sample, or the path of a {' or '.join(SUFFIXES)} file with a column "
                f"smiles (or of a folder with such files), but {self.path} "
                f"{'is not' if self.path.exists() else 'does not exist'}; point data.source at such a file."
            )
        return files

    def identity(self) -> dict[str, Any]:
        """Each file's name, size and time of last change: cheap to look at."""
        files = [(path, path.stat()) for path in self.files()]
        return {
            "kind": "files",
            "path": str(self.path.resolve()),
            "files": [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in files],
        }

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
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb") as file:
            return _read(path, io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))  # type: ignore[arg-type]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} must be a complete gzip file, but reading it failed ({error}); fetch it again."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be a CSV file in UTF-8, but reading it failed ({error}); convert it.") from error


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
