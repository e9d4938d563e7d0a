"""Who trains a run right now: a lease with a heartbeat, so that no run is trained twice and no dead process blocks one.

A lease is a file that names its holder. It is made by linking a complete file into place, which either succeeds or
finds another's, on network file systems too; `flock`, which may not hold there, is not used. The holder touches the
file every ``HEARTBEAT_SECONDS``. A lease untouched for ``STALE_SECONDS``, or whose holder is a process of this machine
that no longer lives, is dead and may be taken over. Ages are told by the file system's own clock: hosts' clocks differ.

Taking over is a right that one process gets, by linking its claim to a name made of the dead lease's token. Should that
process die before it has taken over, the right passes on in the same way, by the token of its claim. So no file of a
dead process blocks a run for longer than ``STALE_SECONDS``, and a living lease is never moved, not even for a moment.
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
    """Hold the right to train one run; use as a context manager.

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
            with contextlib.suppress(OSError):  # one that cannot be deleted goes stale
                self.path.unlink(missing_ok=True)

    def held(self) -> bool:
        """Whether the lease file still names this holder (a stalled process may have been taken over)."""
        return read_holder(self.path).get("token") == self.token

    def check(self) -> None:
        """Make sure that the lease is still held, before writing what only its holder may write.

        Raises:
            LeaseHeld: another process has taken the run over.
            StoreError: the lease is gone.
        """
        holder = read_holder(self.path)
        if holder.get("token") == self.token:
            return
        if holder:
            raise LeaseHeld(f"The run at {self.path.parent} was taken over by {name_of(holder)} while this one stood.")
        raise StoreError(
            f"The lease of the run at {self.path.parent} is gone, was the store deleted under way? The same command "
            "trains the run again."
        )

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a file server that is away for a moment
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
        """Replace the lease with token ``dead`` by the claim, if the right to do so can be had now."""
        rights: list[Path] = []
        token = dead
        while True:
            right = self.path.with_name(f".lease.{token}.heir")
            rights.append(right)
            if _linked(claim, right):
                break
            heir = _token(right)
            if not heir or is_live(right, now=claim.stat().st_mtime):
                return False
            token = heir
        # Whoever had the right before may have used it and tidied up: then the dead lease is there no more.
        still_dead = _token(self.path) == dead
        if still_dead:
            os.replace(claim, self.path)
        for right in rights:
            right.unlink(missing_ok=True)
        return still_dead


def is_live(path: Path, now: float | None = None) -> bool:
    """Whether a lease file exists whose holder has touched it lately and, on this machine, still lives.

    Args:
        path: the lease.
        now: the time by the file system's clock, seconds since 1970; None: by this host's.
    """
    try:
        with open(path, "rb") as file:  # opening makes a network file system look again; `stat` may be a minute old
            touched = os.fstat(file.fileno()).st_mtime
    except OSError:
        return False
    if (time.time() if now is None else now) - touched > STALE_SECONDS:
        return False
    return may_live(read_holder(path))


def _linked(claim: Path, path: Path) -> bool:
    """Link ``claim`` to ``path`` unless that is there; sure also where the answer to a success got lost."""
    try:
        os.link(claim, path)
    except FileExistsError:
        token = read_holder(claim).get("token")
        return token is not None and token == read_holder(path).get("token")
    return True


def _token(path: Path) -> str | None:
    """The token in a lease file, a stand-in for one that a power cut left unreadable, None where there is no file."""
    token = read_holder(path).get("token")
    if isinstance(token, str) and token.isalnum():
        return token
    return "unreadable" if path.exists() else None
