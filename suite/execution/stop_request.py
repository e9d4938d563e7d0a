"""Stopping a sweep from another terminal, or another machine that sees the store: a file asks, the sweep looks."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from suite.records import Store, StoreError
from suite.records.files import explain, make_folder, write_text_atomically

LOOK_SECONDS = 1.0
"""Seconds between two looks of a sweep."""


def ask_to_stop(store: Store, plan_id: str) -> None:
    """Ask every process that carries out this plan to stop; it saves checkpoints as on Ctrl-C.

    Raises:
        StoreError: the store cannot be written.
    """
    path = _file(store, plan_id)
    try:
        make_folder(path.parent, store.path)
        write_text_atomically(path, f"asked on {os.uname().nodename}, by process {os.getpid()}\n")
    except OSError as error:
        raise StoreError(f"The sweep cannot be asked to stop: {path} cannot be written ({explain(error)}).") from error


@contextlib.contextmanager
def stopped_by_request(store: Store, plan_id: str) -> Iterator[None]:
    """While this lasts, a request that comes anew ends this process as SIGTERM does."""
    path, over = _file(store, plan_id), threading.Event()
    before = _made(path)

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            made = _made(path)
            if made is not None and made != before:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def wait_until_stopped(store: Store, run_ids: list[str], seconds: float) -> int:
    """Wait until no run of these is being trained; returns how many still are after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        living = sum(map(store.is_being_trained, run_ids))
        if not living or time.monotonic() >= until:
            return living
        time.sleep(LOOK_SECONDS)


def _file(store: Store, plan_id: str) -> Path:
    return store.path / "sweeps" / plan_id / "stop"


def _made(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
