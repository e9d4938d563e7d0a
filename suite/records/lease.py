"""Leases with a heartbeat: at most one process trains a run at a time, and a process that died does not block it.

A lease is a file that names its holder. A process acquires it by hard-linking a complete file to the lease's path; the
link fails if a lease exists, on network file systems too, where `flock` may not work. The holder touches the file every
``HEARTBEAT_SECONDS``. A lease is dead if it was not touched for ``STALE_SECONDS``, or if its holder was a process of
this machine that has ended; another process may then replace it. Ages are measured by the clock of the file system,
because the clocks of hosts differ.

Before a process replaces a dead lease, it locks the replacement by linking its own file to a name made from the dead
lease's token. If it dies before it has replaced the lease, the next process locks in the same way, by the token of the
dead process's file. So a dead process never blocks a run for longer than ``STALE_SECONDS``, and no live lease is moved.

A process that was suspended may wake up after its lease was replaced, at any instruction, so it can look at nothing and
act on it later. Every process therefore has a folder of its own beside the lease, its desk, and all that only a holder
may do is to rename something that lies on its desk, or to it: a file of the run into its place, its claim to the
lease's path, the lease away. Whoever replaces a lease moves the desks of the holder before, and of all that had locked
the replacement, away first. From then on those renames fail: the check and the write are one step.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from suite.records.files import StoreError, explain, fill, make_folder, open_regular
from suite.records.holder import describe_self, may_live, name_of, read_holder

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0

_ATTEMPTS = 50
_TOKEN = re.compile(r"[0-9A-Za-z]{1,64}")


class LeaseHeld(RuntimeError):
    """Another living process is training this run."""


class Lease:
    """The right to train one run: a context manager that acquires the lease, renews it in a thread and releases it.

    Args:
        path: the lease file, one per run.
        root: folder of the store; below it no link is followed. None: the lease's own folder.

    Raises:
        LeaseHeld: on entering, when another living process holds the lease.
        StoreError: on entering, when the store cannot be written.
    """

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self.path = path
        self.root = root or path.parent
        self.token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)

    def __enter__(self) -> Lease:
        desk = self._desk(self.token)
        claim = desk / "claim"
        try:
            try:
                make_folder(self.path.parent, self.root)
                desk.mkdir()
                claim.write_text(json.dumps(describe_self(self.token)))
                self._acquire(claim)
                claim.unlink(missing_ok=True)
            except BaseException:
                shutil.rmtree(desk, ignore_errors=True)
                raise
        except FileNotFoundError:
            raise self._lost() from None
        except OSError as error:
            raise StoreError(
                f"The lease of the run at {self.path.parent} could not be written ({explain(error)}); make room "
                "or give another --store, records that are there are intact."
            ) from error
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        desk = self._desk(self.token)
        with contextlib.suppress(OSError):  # a lease that cannot be moved goes stale
            if self.held():
                os.rename(self.path, desk / "released")
        shutil.rmtree(desk, ignore_errors=True)

    def held(self) -> bool:
        """Whether the lease file still names this holder; a process that was suspended may have lost it to another."""
        return read_holder(self.path).get("token") == self.token

    def check(self) -> None:
        """Check that the lease is still held; it may be lost a moment later, see `write`.

        Raises:
            LeaseHeld: another process has taken the run over.
            StoreError: the lease is gone.
        """
        if not (self.held() and self._desk(self.token).is_dir()):
            raise self._lost()

    def write(self, path: Path, write: Callable[[Path], object]) -> None:
        """Write a file in one step that fails if another process has taken the run over, however long ago.

        Args:
            path: where the content goes, on the file system of the lease.
            write: called with the path of a temporary file.

        Raises:
            LeaseHeld: another process has taken the run over; ``path`` is as that process left it.
            StoreError: the lease is gone.
            OSError: the disk is full or the folder cannot be written; ``path`` is as it was.
        """
        self.check()
        desk = self._desk(self.token)
        temporary = desk / path.name
        try:
            fill(temporary, write)
            os.replace(temporary, path)
        except OSError as error:
            if desk.is_dir():
                raise
            raise self._lost() from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _desk(self, token: str) -> Path:
        return self.path.with_name(f".lease.{token}")

    def _lost(self) -> Exception:
        """What became of a lease that is held no more."""
        run, holder = self.path.parent, read_holder(self.path)
        if not run.is_dir() or (not holder and self._desk(self.token).is_dir()):
            return StoreError(
                f"The lease of the run at {run} is gone, was the store deleted under way? The same command trains the "
                "run again."
            )
        who = name_of(holder) if holder else "another process, which has ended"
        return LeaseHeld(f"The run at {run} was taken over by {who} in the meantime.")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a file server may be unreachable for a moment
                if self.held():
                    os.utime(self.path)

    def _acquire(self, claim: Path) -> None:
        for _ in range(_ATTEMPTS):
            if _linked(claim, self.path):
                return
            os.utime(claim)
            dead = _token(self.path)
            if is_live(self.path, now=claim.stat().st_mtime):
                break
            if dead and self._take_over(claim, dead):
                return
            time.sleep(0.01)
        raise LeaseHeld(f"The run at {self.path.parent} is being trained by {name_of(read_holder(self.path))}.")

    def _take_over(self, claim: Path, dead: str) -> bool:
        """Replace the lease with token ``dead`` by ``claim``; False if another live process is doing so or has done."""
        tokens = [dead]
        while not _linked(claim, lock := self._lock(tokens[-1])):
            heir = _token(lock)
            if not heir or is_live(lock, now=claim.stat().st_mtime):
                return False
            tokens.append(heir)
        # A process that held the lock before may have replaced the lease and deleted the lock.
        still_dead = _token(self.path) == dead
        if still_dead:
            for token in tokens:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self._desk(token), claim.with_name(token))
            os.replace(claim, self.path)
        for token in tokens:
            self._lock(token).unlink(missing_ok=True)
        return still_dead

    def _lock(self, token: str) -> Path:
        return self.path.with_name(f".lease.{token}.heir")


def is_live(path: Path, now: float | None = None) -> bool:
    """Whether a lease file exists, was touched within ``STALE_SECONDS``, and its holder may still be alive.

    Args:
        path: the lease file.
        now: seconds since 1970 by the file system's clock; None: by this host's clock.
    """
    try:
        with open_regular(path) as file:  # opening makes a network file system ask its server; `stat` may be cached
            touched = os.fstat(file.fileno()).st_mtime
    except OSError:
        return False
    if (time.time() if now is None else now) - touched > STALE_SECONDS:
        return False
    return may_live(read_holder(path))


def _linked(claim: Path, path: Path) -> bool:
    """Link ``claim`` to ``path`` unless ``path`` exists; True also if the link was made but its reply was lost."""
    try:
        os.link(claim, path)
    except FileExistsError:
        token = read_holder(claim).get("token")
        return token is not None and token == read_holder(path).get("token")
    return True


def _token(path: Path) -> str | None:
    """The token in a lease file; ``unreadable`` if the file has none (after a power cut), None if there is no file."""
    token = read_holder(path).get("token")
    if isinstance(token, str) and _TOKEN.fullmatch(token):
        return token
    return "unreadable" if os.path.lexists(path) else None
