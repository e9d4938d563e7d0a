"""Files of a store: written atomically (a reader sees the old content or the new), read strictly, errors in words.

A store may be damaged, or a stranger's: a named pipe would block its reader, a link lead to files outside, a number of
400 digits or a thousand brackets break what computes with them. Nothing of that gets past `read_json`.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 2**24
"""Size up to which a JSON file is read, if nothing else is said."""

_MOST_NESTED = 40
_MOST_BITS = 1000

_EXPLANATIONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grew over the limit on the size of files",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.ENOENT: "the folder is gone, was it deleted under way?",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EEXIST: "a file is where a folder should be",
    errno.EIO: "the disk answers with an error",
    errno.ESTALE: "the network file system has lost the folder",
    errno.ELOOP: "a link is where a folder or file of the store should be, and would lead out of it",
    errno.EISDIR: "a folder is where a file should be",
}


class StoreError(RuntimeError):
    """The store cannot be written or read as asked."""


def explain(error: OSError) -> str:
    """Explain an operating-system error to the user whose store is on that disk."""
    return _EXPLANATIONS.get(error.errno or 0, str(error))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a neighbouring file, then move it to ``path`` in one step.

    Args:
        path: where the content goes; its folder is made if need be.
        write: called with the path of the temporary file.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is then as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        fill(temporary, write)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def fill(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file, and wait until the disk has it."""
    write(path)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` in one step; see `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def make_folder(folder: Path, root: Path) -> None:
    """Make a folder at or below ``root`` that what is written into stays below ``root``.

    Raises:
        OSError: it cannot be made, or a link below ``root`` leads to it (``ELOOP``).
    """
    below = folder.relative_to(root).parts
    for count in range(1, len(below) + 1):
        part = root.joinpath(*below[:count])
        if part.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(part))
    folder.mkdir(parents=True, exist_ok=True)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading; unlike `open` it refuses named pipes, devices and folders, without waiting for them.

    Raises:
        OSError: there is no such file, or it is not a regular one.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # were it exchanged for a pipe just now
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return open(descriptor, "rb")


def sha256_of(file: io.BufferedReader) -> str:
    """Checksum of an open file, from its start, where it is left."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """The content of a JSON file, of plain finite values.

    Raises:
        OSError: the file is not there or not regular.
        ValueError: it is larger than ``most_bytes``, not JSON in UTF-8, nested too deeply, or holds a number that is
            infinite, NaN or has hundreds of digits, or half of a surrogate pair.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes / 2**20:g} MiB")
    return parse_json(content)


def parse_json(content: bytes) -> Any:
    """Plain finite values from JSON; see `read_json`."""
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check(value, _MOST_NESTED)
    return value


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if not value.isascii():
            value.encode()
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("it holds a number that is not finite")
    elif isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise ValueError("it holds a number of hundreds of digits")
    elif value is not None:
        if not depth:
            raise ValueError("it is nested too deeply")
        if isinstance(value, dict):
            for key in value:
                _check(key, depth)
            value = value.values()
        for item in value:
            _check(item, depth - 1)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number of JSON")
