"""One worker: a process that reads a request per line and answers each with a line."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from suite.execution.messages import Event, WorkRequest

STOP_SIGNAL = signal.SIGUSR2
"""Asks a worker to save a checkpoint at the end of its block, to answer, and to end."""


class WorkerProcess:
    """A worker, started at once; it ends when this process does, for it reads from it.

    Args:
        command: starts it.
        environment: its whole environment.
        log: file that its own output is added to; None: this process's standard error.
        folder: its working directory; None: this process's.
    """

    def __init__(
        self, command: list[str], environment: Mapping[str, str], *, log: Path | None = None, folder: str | None = None
    ) -> None:
        output = _opened(log)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, env=dict(environment),
                cwd=folder, text=True,
            )  # fmt: skip
        finally:
            if output is not None:
                output.close()  # the worker has its own

    @property
    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def ask(self, request: WorkRequest) -> Event:
        """Send a request and wait for its answer; the process's end is one too."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(request.to_json() + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return self._death()
        for line in self._process.stdout:
            try:
                return Event.from_json(line)
            except (ValueError, TypeError, AttributeError):
                print(line, end="", file=sys.stderr)  # a library's own words on standard output
        return self._death()

    def ask_to_stop(self, wait_seconds: float) -> bool:
        """Ask for a checkpoint and the end; returns whether the process ended within the time."""
        if self.lives:
            self._process.send_signal(STOP_SIGNAL)
        try:
            self._process.wait(wait_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()

    def _death(self) -> Event:
        return Event("crashed", error=f"its worker ended with exit code {self._process.wait()}")


def _opened(log: Path | None) -> IO[str] | None:
    if log is None:
        return None
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return open(log, "a", encoding="utf-8")
    except OSError:  # a full or deleted store: the workers' words go where the sweep's go
        return None
