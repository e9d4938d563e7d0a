"""A folder of prepared data: made by one process at a time, whoever else asks for it."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the lock of a prepared folder; the lock is the kernel's and ends with its holder.

    Args:
        folder: the final folder, which need not exist; its parent is made.

    Raises:
        ValueError: the parent cannot be written or locked; the message says to set ``data.data_dir``.
    """
    locks = folder.parent / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        # The file stays: removing it could hand the same lock to two processes.
        lock = open(locks / f"{folder.name}.lock", "a+")  # noqa: SIM115
    except OSError as error:
        raise ValueError(
            f"data.data_dir must be a folder that can be written, but {folder.parent} cannot "
            f"({error.strerror}); set data.data_dir to another folder."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("Another process prepares %s; waiting for it.", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise ValueError(
                f"data.data_dir must lie on a file system with file locks, but {folder.parent} cannot be "
                f"locked ({error.strerror}); set data.data_dir to another disk."
            ) from error
        yield
