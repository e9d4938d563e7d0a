"""Local files as a source of data: one file, or all files of some kinds in a folder.

What a file is packed with is told by its first bytes, not by its name.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from tasks.kinds.left_out import LeftOut

PACKED = (".gz", ".bz2", ".xz", ".zst")
"""What the names of packed files may end in."""

PACKED_TWICE = 2
"""A file may be packed so many times: servers pack what is packed already."""

LOCKS = ".locks"
"""A folder with this one in it holds prepared data."""

_HEAD_BYTES = 1024
_FEW_ZEROS = 8
_SYSTEM = frozenset(["$RECYCLE.BIN", "@eaDir", "__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini", "lost+found"])
_COMPANION = re.compile(
    r"(read_?me([-_ ].*)?|licen[cs]e(-.*)?|copying|notice|change(log|s)|citation|authors|contributors|version|"
    r"requirements|(.*[-_.])?(checksums?|(md5|sha\d+)(sums?)?))(\.(txt|md|rst|html?|pdf|cff|bib))?",
    re.IGNORECASE,
)
"""Names of files that tell about data and are none."""


class DamagedSource(ValueError):
    """The source's content cannot be used as it is; preparing it again would fail in the same way."""


def one_line(error: BaseException) -> str:
    """The beginning of an error's text, which may have several lines."""
    return next(iter(str(error).splitlines()), "")[:120]


def local_path(source: str) -> Path:
    """The path that ``data.source`` names.

    Raises:
        ValueError: it is empty, or there is no file or folder.
    """
    expected = "data.source must be paper, sample, or an existing file or folder"
    try:
        mode = os.stat(source if source.strip() else "\0").st_mode
    except (OSError, ValueError) as error:
        why = f" ({error.strerror})" if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) else ""
        raise ValueError(f"{expected}, got {source[:200]!r}{why}.") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{expected}, got {source!r}, which is a pipe or a device.")
    return Path(source)


class Walked(NamedTuple):
    """What a folder holds, its subfolders included.

    Attributes:
        files: below the folder, sorted, with ``/`` between folders.
        hidden: files and folders whose names begin with a dot, what operating systems leave behind, and folders of
            prepared data.
        unreadable: pipes, devices, links to nothing.
    """

    files: list[str]
    hidden: list[str]
    unreadable: list[str]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name.startswith(".") or name in _SYSTEM


def is_companion(path: str) -> bool:
    """Whether a file of this name tells about data (README, LICENSE, checksums) and is none."""
    return _COMPANION.fullmatch(path.rpartition("/")[2]) is not None


def walk(root: Path) -> Walked:
    """Look through a folder; links are followed, each folder is visited once.

    Raises:
        DamagedSource: a folder cannot be listed.
    """
    walked = Walked([], [], [])
    visited: set[tuple[int, int]] = set()

    def visit(folder: str, prefix: str) -> None:
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in visited:
            return
        visited.add((state.st_dev, state.st_ino))
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
            if prefix and any(entry.name == LOCKS for entry in listed):
                walked.hidden.append(prefix.rstrip("/"))
                return
            for entry in listed:
                name = prefix + entry.name
                if is_hidden(entry.name):
                    walked.hidden.append(name)
                elif os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                    visit(entry.path, f"{name}/")
                else:
                    is_file = os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()
                    (walked.files if is_file else walked.unreadable).append(name)

    with readable(root):
        visit(str(root), "")
    walked.files.sort()
    return walked


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to read into one sentence.

    Raises:
        DamagedSource: the file cannot be read; the message names it.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise DamagedSource(
            f"{error.filename or path} must be readable, but it is not ({error.strerror}); correct its permissions or "
            "take it out of data.source."
        ) from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The content of a file of text, unpacked where its first bytes say that it is packed.

    Raises:
        DamagedSource: it cannot be read, is cut short, is of another kind than its name says, or is no text in UTF-8;
            the message names the file.
    """
    with readable(path), open(path, "rb") as file:
        packed: str | None = None
        content: Any = file
        try:
            for _ in range(PACKED_TWICE):
                kind = packed_with(content.peek(8))
                if kind is None:
                    break
                packed, content = kind, _UNPACK[kind](content)
            require_text(path, content.peek(_HEAD_BYTES)[:_HEAD_BYTES])
            named = path.suffix.lower()
            if packed is None and named in PACKED:
                kind = "gzip" if named == ".gz" else named[1:]
                raise DamagedSource(
                    f"{path} must be a complete {kind} file, but it is not packed; fetch it again, or take {named} off "
                    "its name."
                )
            yield content
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedSource(
                f"{path} must be a complete {packed or 'plain'} file, but reading it failed ({one_line(error)}); fetch "
                "it again or take it out of data.source."
            ) from error


def _zstd(file: BinaryIO) -> BinaryIO:
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(file, "zstd"))


_UNPACK: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zst": _zstd,
}
_FIRST_BYTES = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bz2": re.compile(rb"BZh[1-9](1AY&|\x17rE8)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zst": re.compile(rb"\x28\xb5\x2f\xfd"),
}
_NO_TEXT = {b"PK\x03\x04": "a zip archive", b"PAR1": "a parquet file", b"7z\xbc\xaf": "a 7z archive", b"%PDF": "a PDF"}


def packed_with(head: bytes) -> str | None:
    """What a file is packed with, by its first bytes: gzip, bz2, xz or zst; None: it is not."""
    return next((kind for kind, first in _FIRST_BYTES.items() if first.match(head)), None)


def require_text(path: object, head: bytes) -> None:
    """Refuse what is no text in UTF-8, by its first bytes.

    Args:
        path: of the file, for the message.
        head: its first bytes, unpacked.

    Raises:
        DamagedSource: it is UTF-16, or no text.
    """
    kind = next((kind for first, kind in _NO_TEXT.items() if head.startswith(first)), None)
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        kind = "in UTF-16 or UTF-32"
    elif kind is None and head.count(0) > max(_FEW_ZEROS, len(head) // 5):
        kind = "in UTF-16, or no text"
    if kind is not None:
        raise DamagedSource(f"{path} must be UTF-8 text, but it is {kind}; convert or unpack it.")


@dataclass(frozen=True)
class LocalFiles:
    """A file, or all files of some kinds in a folder and its subfolders, in sorted order.

    In a folder, hidden files, READMEs and the like, and files of other kinds are left out, see `tasks.kinds.left_out`.

    Args:
        path: an existing file or folder.

    Raises:
        ValueError: there is no such path, no file of a known kind in it, one file twice (packed and unpacked), or too
            many files that would be left out.
    """

    path: Path

    label: ClassVar[str] = "files"
    suffixes: ClassVar[tuple[str, ...]]
    kind: ClassVar[str]
    """What the files are, for messages."""

    def __post_init__(self) -> None:
        local_path(str(self.path))
        if not self.files():
            raise ValueError(
                f"data.source must name or contain files that end in {', '.join(self.suffixes)}, and {self.path} does "
                f"not; point data.source at {self.kind}."
            )
        names = Counter(unpacked_name(path) for path in self.files())
        twice = [path.name for path in self.files() if names[unpacked_name(path)] > 1]
        if twice:
            raise DamagedSource(
                f"Every file of {self.path} must be there once, got {' and '.join(twice[:2])}; take one of them away."
            )
        self.left_out.say(self.path, len(self.files()), "files")

    @cached_property
    def _walked(self) -> Walked:
        return walk(self.path)

    @cached_property
    def left_out(self) -> LeftOut:
        """What a folder holds and is not read."""
        left_out = LeftOut()
        if self.path.is_dir():
            note_unread(left_out, self._walked, lambda file: file.lower().endswith(self.suffixes))
        return left_out

    def files(self) -> list[Path]:
        """The files that are read, in the order in which they are read."""
        if not self.path.is_dir():
            return [self.path] if self.reads(self.path) else []
        return [
            self.path / file
            for file in self._walked.files
            if file.lower().endswith(self.suffixes) and not is_companion(file)
        ]

    def reads(self, file: Path) -> bool:
        """Whether a single file may be read, which its name decides."""
        return file.name.lower().endswith(self.suffixes)

    def identity(self) -> dict[str, Any]:
        """The path and each file's name, size and time of last change: cheap to look at."""
        root = self.path if self.path.is_dir() else self.path.parent
        files = [(path, path.stat()) for path in self.files()]
        listed = [[path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns] for path, stat in files]
        return {"kind": "files", "path": str(self.path.resolve()), "files": listed}


def unpacked_name(path: Path) -> str:
    """The path without the suffix that says how the file is packed."""
    name = str(path)
    return name[: -len(path.suffix)] if path.suffix.lower() in PACKED else name


def note_unread(left_out: LeftOut, walked: Walked, reads: Callable[[str], bool]) -> None:
    """Note what of a folder is not read.

    Args:
        left_out: takes the names.
        walked: what the folder holds.
        reads: whether a file of this name is read, were it no README.
    """
    companions = [file for file in walked.files if is_companion(file)]
    left_out.add("hidden", walked.hidden, lost=False)
    left_out.add("about the data", companions, lost=False)
    left_out.add("of a kind that is not read", (f for f in walked.files if not reads(f) and not is_companion(f)))
    left_out.add("neither file nor folder", walked.unreadable)
