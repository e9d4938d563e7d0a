"""Folders of prepared data: one process at a time makes one, and only if the disk has room for it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tasks.kinds.local_files import LOCKS, DamagedSource, one_line

_RESERVE_BYTES = 64_000_000

_TRIES = 1000
"""Times that a folder for locks is made anew, where others remove it."""

_log = logging.getLogger(__name__)


def named_by_content(data_dir: Path, label: str, identity: dict[str, Any]) -> Path:
    """The final folder of prepared data; its name ends with a hash of what decides the content.

    Args:
        data_dir: folder for prepared data.
        label: begins the name, for people.
        identity: everything that decides the content, plain values.
    """
    text = json.dumps(identity, sort_keys=True)
    return data_dir / f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def prepare_folder(folder: Path, work: Callable[[Path], object], *, goes_on: bool) -> None:
    """Make a prepared folder if it is not there yet; safe from several processes at once and after a kill.

    Args:
        folder: the final folder; it is there with all of its content, or not at all.
        work: fills the folder that it is given, which lies beside the final one.
        goes_on: whether ``work`` goes on with what an interrupted attempt left; else it begins with an empty folder.

    Raises:
        ValueError: the disk is full or cannot be written or read, or memory ran out.
    """
    if folder.exists():
        return
    with only_process(folder):
        if folder.exists():
            return
        working = folder.with_name(f"{folder.name}.partial")
        if not goes_on:
            shutil.rmtree(working, ignore_errors=True)
        try:
            with _failures_explained(folder), full_disk_explained(working, kept=goes_on):
                working.mkdir(parents=True, exist_ok=True)
                work(working)
                os.rename(working, folder)
        except Exception as error:
            # A damaged source would fail again, and a corrected one has another folder.
            if not goes_on or isinstance(error, DamagedSource):
                shutil.rmtree(working, ignore_errors=True)
            raise


@contextmanager
def _failures_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ValueError(
            f"Preparing {folder} must fit into memory, but it ran out; lower data.num_workers, give less data, or "
            "start again on a larger machine."
        ) from error
    except OSError as error:
        raise ValueError(
            f"Preparing {folder} must be able to read its source and write its files, but "
            f"{error.filename or 'one of them'} failed ({error.strerror or one_line(error)}); correct that and start "
            "again."
        ) from error


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the lock of a prepared folder, which the kernel releases when its holder ends.

    Where the work ends in an error and has left nothing, the lock and the folders made for it go too.

    Args:
        folder: the final folder, which need not exist; its parent is made.

    Raises:
        ValueError: the parent cannot be written or locked; the message says to set ``data.data_dir``.
    """
    path = folder.parent / LOCKS / f"{folder.name}.lock"
    made = [parent for parent in path.parents if not parent.exists()]
    with _locked(path):
        try:
            yield
        except BaseException:
            if not folder.exists() and not folder.with_name(f"{folder.name}.partial").exists():
                path.unlink(missing_ok=True)
                with suppress(OSError):  # others have put something there
                    for parent in made:
                        parent.rmdir()
            raise


def _locked(path: Path) -> IO[str]:
    """The locked file at a path; whoever held it before may have removed it, and then it is made anew."""
    data_dir, tries = path.parents[1], _TRIES
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(path, "a+")  # noqa: SIM115
        except OSError as error:
            tries -= 1
            if isinstance(error, FileNotFoundError | FileExistsError) and tries:
                continue  # the folder was removed just now: before the file was opened, or while `mkdir` looked at it
            raise ValueError(
                f"data.data_dir must be a folder that can be written, but {data_dir} cannot ({error.strerror}); set "
                "data.data_dir to another folder."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("Another process prepares %s; waiting for it.", data_dir / path.stem)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            lock.close()
            raise ValueError(
                f"data.data_dir must lie on a file system with file locks, but {data_dir} cannot be locked "
                f"({error.strerror}); set data.data_dir to another disk."
            ) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                return lock
        lock.close()


def write_durably(path: Path, text: str) -> None:
    """Replace a text file in one step, its content on disk first."""
    part = path.with_name(f"{path.name}.part")
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def require_space(folder: Path, needed_bytes: int, *, what: str, less: str) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        folder: the folder that will be made; its parent exists.
        needed_bytes: expected size, less what is already there.
        what: what is made, for the message.
        less: the setting that makes it smaller, for the message.

    Raises:
        ValueError: the disk has less room than that and a reserve.
    """
    free = shutil.disk_usage(folder.parent).free
    if free < needed_bytes + _RESERVE_BYTES:
        raise ValueError(
            f"Preparing {what} needs about {(needed_bytes + _RESERVE_BYTES) / 1e9:.1f} GB at {folder.parent}, which "
            f"has {free / 1e9:.1f} GB free; free some space, set data.data_dir to a larger disk, or lower {less}."
        )


@contextmanager
def full_disk_explained(folder: Path, *, kept: bool) -> Iterator[None]:
    """Turn the operating system's error for a full disk into one sentence.

    Args:
        folder: the folder that is written to.
        kept: whether starting again goes on with what is done so far.

    Raises:
        ValueError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        # numpy reports a short write without its reason.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "requested and" not in str(error):
            raise
        raise ValueError(
            f"The disk of {folder} is full; free some space or set data.data_dir to a larger disk, and start again"
            + (" (what is done so far is kept)." if kept else ".")
        ) from error
