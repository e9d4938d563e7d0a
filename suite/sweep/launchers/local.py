"""Worker processes on this machine, each training one run after another."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from suite.sweep.plan import PlannedRun

MAX_ATTEMPTS = 3
"""Times that a run is started when its worker dies."""


@dataclasses.dataclass
class Progress:
    """What a launcher tells while it works.

    Attributes:
        kind: ``started``, ``done`` (with a status), ``held`` (another process trains it) or ``crashed``.
        run: the run.
        status: of its record, for ``done``.
        seconds: wall time it took, for ``done``.
        error: what went wrong, for ``failed`` runs and crashes.
    """

    kind: str
    run: PlannedRun
    status: str = ""
    seconds: float = 0.0
    error: str = ""


class LocalLauncher:
    """Keeps ``workers`` processes busy; a worker that dies is replaced and its run started again.

    Args:
        workers: processes.
        command: starts one worker; it reads a request per line and answers with a line per event.
        request: the request for a run, as plain values.
        logs: folder for the workers' own output.
        gpus: devices to spread the workers over; 0: none.
    """

    def __init__(
        self,
        workers: int,
        *,
        command: list[str],
        request: Callable[[PlannedRun], dict[str, Any]],
        logs: Path,
        gpus: int = 0,
    ) -> None:
        self.workers = workers
        self.command = command
        self.request = request
        self.logs = logs
        self.gpus = gpus

    def run(self, runs: Iterable[PlannedRun], on_progress: Callable[[Progress], Iterable[PlannedRun]]) -> None:
        """Execute runs until none is left.

        Args:
            runs: in the order to be started.
            on_progress: called (in this thread) with every event; returns runs to add.
        """
        waiting = list(runs)
        events: queue.Queue[Progress] = queue.Queue()
        idle = list(range(self.workers))
        attempts: dict[str, int] = {}
        workers = [_Worker(i, self, events) for i in range(self.workers)]
        running = 0
        try:
            while waiting or running:
                while waiting and idle:
                    run = waiting.pop(0)
                    attempts[run.run_id] = attempts.get(run.run_id, 0) + 1
                    workers[idle[0]].start(run)
                    idle.pop(0)
                    running += 1
                    on_progress(Progress("started", run))
                event = events.get()
                number = next(w.number for w in workers if w.run is event.run)
                workers[number].run = None
                idle.append(number)
                running -= 1
                if event.kind == "crashed" and attempts[event.run.run_id] < MAX_ATTEMPTS:
                    waiting.insert(0, event.run)
                waiting.extend(on_progress(event))
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """One process and the thread that listens to it."""

    def __init__(self, number: int, launcher: LocalLauncher, events: queue.Queue[Progress]) -> None:
        self.number = number
        self.run: PlannedRun | None = None
        self._launcher = launcher
        self._events = events
        self._process: subprocess.Popen[str] | None = None
        self._log: Any = None

    def start(self, run: PlannedRun) -> None:
        self.run = run
        if self._process is None or self._process.poll() is not None:
            self._spawn()
        assert self._process is not None and self._process.stdin is not None
        line = json.dumps(self._launcher.request(run))
        with contextlib.suppress(BrokenPipeError):  # the listening thread reports the death
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        threading.Thread(target=self._listen, args=(self._process, run), daemon=True).start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._log is not None:
            self._log.close()

    def _spawn(self) -> None:
        self._launcher.logs.mkdir(parents=True, exist_ok=True)
        if self._log is not None:
            self._log.close()
        self._log = open(self._launcher.logs / f"worker-{self.number}.log", "a", encoding="utf-8")  # noqa: SIM115
        threads = max(1, (os.cpu_count() or 1) // self._launcher.workers)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if self._launcher.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(self.number % self._launcher.gpus)
        self._process = subprocess.Popen(
            self._launcher.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
        )

    def _listen(self, process: subprocess.Popen[str], run: PlannedRun) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                answer = json.loads(line)
                kind = answer["event"]
            except (ValueError, KeyError, TypeError):
                print(line, end="", file=sys.stderr)  # a library's own words on standard output
                continue
            self._events.put(
                Progress(kind, run, answer.get("status", ""), answer.get("seconds", 0.0), answer.get("error", ""))
            )
            return
        code = process.wait()
        self._events.put(Progress("crashed", run, error=f"its worker ended with exit code {code}"))
