"""A worker process, which reads a request per line and answers each with a line, as its launcher handles it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from suite.execution.launchers.forks import ForkServer
from suite.execution.messages import Event, WorkRequest

STOP_SIGNAL = signal.SIGUSR2
"""The signal on which a worker saves a checkpoint at the end of its block, answers, and ends."""


class WorkerProcess:
    """Starts a worker, which ends when this process ends, because its standard input is then closed.

    Args:
        command: command of the worker.
        environment: the worker's whole environment.
        log: file to which the worker's output is appended; None: this process's standard error.
        folder: the worker's working directory; None: that of this process.
        forks: forks the worker instead of executing the command, while it can.
    """

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        *,
        log: Path | None = None,
        folder: str | None = None,
        forks: ForkServer | None = None,
    ) -> None:
        self._log = log
        output = _opened(log)
        try:
            self._process = (None if forks is None else forks.spawn(environment, output)) or subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, env=dict(environment),
                cwd=folder, text=True,
            )  # fmt: skip
        finally:
            if output is not None:
                output.close()  # the worker has its own handle

    @property
    def lives(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def ask(self, request: WorkRequest) -> Event:
        """Send a request and wait for the answer; a worker that ends instead gives the event ``crashed``."""
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
                print(line, end="", file=sys.stderr)  # a library has printed to standard output
        return self._death()

    def ask_to_stop(self, wait_seconds: float) -> bool:
        """Ask the worker to save a checkpoint and end; returns whether it ended within ``wait_seconds``."""
        if self.lives:
            self._process.send_signal(STOP_SIGNAL)
        try:
            self._process.wait(wait_seconds)
        except (subprocess.TimeoutExpired, TimeoutError):
            return False
        return True

    def kill(self) -> None:
        """Kill the worker at once."""
        self._process.kill()
        self._process.wait()

    def _death(self) -> Event:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        said = _last_line(self._log)
        return Event("crashed", error=f"its worker {how}" + (f" and said: {said}" if said else ""))


def _last_line(log: Path | None) -> str:
    """The last line that a worker has written; empty where there is none."""
    try:
        lines = [] if log is None else log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "")


def _opened(log: Path | None) -> IO[str] | None:
    if log is None or log.parent.is_symlink():
        return None
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        # A log that is a link would have a file of the user's grow, one that is a pipe would have the sweep wait.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return open(os.open(log, flags, 0o666), "a", encoding="utf-8")
    except OSError:  # the store is full or deleted: the worker prints to this process's standard error
        return None
