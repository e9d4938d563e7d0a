"""Local files as a source of data: one file, or all files of some kinds in a folder."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar


class DamagedSource(ValueError):
    """The source's content cannot be used as it is; preparing it again would fail in the same way."""


def one_line(error: BaseException) -> str:
    """The beginning of an error's text, which may have several lines."""
    return next(iter(str(error).splitlines()), "")[:120]


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The content of a file, decompressed where its name ends in ``.gz``.

    Raises:
        DamagedSource: what is read of a gzip file is cut short or damaged; the message names the file.
    """
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb") as file:
        try:
            yield file  # type: ignore[misc]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DamagedSource(
                f"{path} must be a complete gzip file, but reading it failed ({error}); fetch it again or take it out "
                "of data.source."
            ) from error


@dataclass(frozen=True)
class LocalFiles:
    """A file, or all files of some kinds in a folder and its subfolders, in sorted order; hidden ones are left out.

    Args:
        path: an existing file or folder.

    Raises:
        ValueError: there is no such path, or no file of a known kind in it.
    """

    path: Path

    label: ClassVar[str] = "files"
    suffixes: ClassVar[tuple[str, ...]]
    kind: ClassVar[str]
    """What the files are, for messages."""

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise ValueError(
                f"data.source must be paper, sample, or an existing file or folder, got {str(self.path)!r}."
            )
        if not self.files():
            raise ValueError(
                f"data.source must name or contain files that end in {', '.join(self.suffixes)}, and {self.path} does "
                f"not; point data.source at {self.kind}."
            )

    def files(self) -> list[Path]:
        """The files that are read, in the order in which they are read."""
        if self.path.is_file():
            return [self.path] if self.reads(self.path) else []
        inside = (path for path in self.path.rglob("*") if path.name.lower().endswith(self.suffixes) and path.is_file())
        visible = (path for path in inside if not any(p.startswith(".") for p in path.relative_to(self.path).parts))
        return sorted(visible, key=lambda path: path.relative_to(self.path).as_posix())

    def reads(self, file: Path) -> bool:
        """Whether a single file may be read, which its name decides."""
        return file.name.lower().endswith(self.suffixes)

    def identity(self) -> dict[str, Any]:
        """The path and each file's name, size and time of last change: cheap to look at."""
        root = self.path if self.path.is_dir() else self.path.parent
        files = [(path, path.stat()) for path in self.files()]
        listed = [[path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns] for path, stat in files]
        return {"kind": "files", "path": str(self.path.resolve()), "files": listed}
