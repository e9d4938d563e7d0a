"""Leases with a heartbeat: at most one process trains a run at a time, and a process that died does not block it.

A lease is a file that names its holder. A process acquires it by hard-linking a complete file to the lease's path; the
link fails if a lease exists, on network file systems too, where `flock` may not work. The holder touches the file every
``HEARTBEAT_SECONDS``. A lease is dead if it was not touched for ``STALE_SECONDS``, or if its holder was a process of
this machine that has ended; another process may then replace it. Ages are measured by the clock of the file system,
because the clocks of hosts differ.

Before a process replaces a dead lease, it locks the replacement by linking its own file to a name made from the dead
lease's token. If it dies before it has replaced the lease, the next process locks in the same way, by the token of the
dead process's file. So a dead process never blocks a run for longer than ``STALE_SECONDS``, and no live lease is moved.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from pathlib import Path

from suite.records.files import StoreError, explain
from suite.records.holder import describe_self, may_live, name_of, read_holder

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0

_ATTEMPTS = 50


class LeaseHeld(RuntimeError):
    """Another living process is training this run."""


class Lease:
    """The right to train one run: a context manager that acquires the lease, renews it in a thread and releases it.

    Args:
        path: the lease file, one per run.

    Raises:
        LeaseHeld: on entering, when another living process holds the lease.
        StoreError: on entering, when the store cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)

    def __enter__(self) -> Lease:
        claim = self.path.with_name(f".lease.{self.token[:8]}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                claim.write_text(json.dumps(describe_self(self.token)))
                self._acquire(claim)
            finally:
                claim.unlink(missing_ok=True)
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
        if self.held():
            with contextlib.suppress(OSError):  # a lease that cannot be deleted goes stale
                self.path.unlink(missing_ok=True)

    def held(self) -> bool:
        """Whether the lease file still names this holder; a process that was suspended may have lost it to another."""
        return read_holder(self.path).get("token") == self.token

    def check(self) -> None:
        """Check that the lease is still held; call it before writing what only the holder may write.

        Raises:
            LeaseHeld: another process has taken the run over.
            StoreError: the lease is gone.
        """
        holder = read_holder(self.path)
        if holder.get("token") == self.token:
            return
        if holder:
            raise LeaseHeld(f"The run at {self.path.parent} was taken over by {name_of(holder)} in the meantime.")
        raise StoreError(
            f"The lease of the run at {self.path.parent} is gone, was the store deleted under way? The same command "
            "trains the run again."
        )

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
        locks: list[Path] = []
        token = dead
        while True:
            lock = self.path.with_name(f".lease.{token}.heir")
            locks.append(lock)
            if _linked(claim, lock):
                break
            heir = _token(lock)
            if not heir or is_live(lock, now=claim.stat().st_mtime):
                return False
            token = heir
        # A process that held the lock before may have replaced the lease and deleted the lock.
        still_dead = _token(self.path) == dead
        if still_dead:
            os.replace(claim, self.path)
        for lock in locks:
            lock.unlink(missing_ok=True)
        return still_dead


def is_live(path: Path, now: float | None = None) -> bool:
    """Whether a lease file exists, was touched within ``STALE_SECONDS``, and its holder may still be alive.

    Args:
        path: the lease file.
        now: seconds since 1970 by the file system's clock; None: by this host's clock.
    """
    try:
        with open(path, "rb") as file:  # opening makes a network file system ask its server; `stat` may be cached
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
    if isinstance(token, str) and token.isalnum():
        return token
    return "unreadable" if path.exists() else None
