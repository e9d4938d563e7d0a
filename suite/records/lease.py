"""Who trains a run right now: a lease with a heartbeat, so that no run is trained twice and no dead process blocks one.

A lease is a file that names its holder. It is made by linking a complete file into place, which either succeeds or
finds another's (also on network file systems, where `flock` may not hold). The holder touches it every few seconds; a
lease untouched for `STALE_SECONDS`, or whose holder is a process of this host that no longer lives, may be taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


class LeaseHeld(RuntimeError):
    """Another living process is training this run."""


class Lease:
    """Hold the right to train one run; use as a context manager.

    Args:
        path: the lease file, one per run.

    Raises:
        LeaseHeld: on entering, when another living process holds the lease.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        claim = self.path.with_name(f".lease.{self.token[:8]}.part")
        claim.write_text(json.dumps({"token": self.token, "host": socket.gethostname(), "pid": os.getpid()}))
        try:
            for _ in range(20):
                try:
                    os.link(claim, self.path)
                    break
                except FileExistsError:
                    self._remove_if_dead()
            else:
                raise LeaseHeld(f"The run at {self.path.parent} is being trained by {describe_holder(self.path)}.")
        finally:
            claim.unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self.held():
            self.path.unlink(missing_ok=True)

    def held(self) -> bool:
        """Whether the lease file still names this holder (a stalled process may have been taken over)."""
        return _read(self.path).get("token") == self.token

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            if self.held():
                os.utime(self.path)

    def _remove_if_dead(self) -> None:
        if is_live(self.path):
            raise LeaseHeld(f"The run at {self.path.parent} is being trained by {describe_holder(self.path)}.")
        # Several processes may find the lease dead at once. Move it aside, then look at what was moved: when another
        # was quicker and this is already its living lease, put it back.
        dead_token = _read(self.path).get("token")
        grave = self.path.with_name(f".lease.{self.token[:8]}.dead")
        try:
            os.rename(self.path, grave)
        except FileNotFoundError:
            return
        if _read(grave).get("token") != dead_token:
            with contextlib.suppress(FileExistsError):
                os.link(grave, self.path)
        grave.unlink(missing_ok=True)


def is_live(path: Path) -> bool:
    """Whether a lease file exists whose holder has touched it lately and, on this host, still lives."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    if age > STALE_SECONDS:
        return False
    holder = _read(path)
    if holder.get("host") != socket.gethostname():
        return True
    pid = holder.get("pid")
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def describe_holder(path: Path) -> str:
    """Name the holder of a lease for a message."""
    holder = _read(path)
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
