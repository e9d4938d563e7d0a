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

from suite.sweep.packs import Job

MAX_ATTEMPTS = 3
"""Times that a job is started when its worker dies."""


@dataclasses.dataclass
class Progress:
    """What a launcher tells while it works.

    Attributes:
        kind: ``started``, ``done`` (with statuses), ``held`` (another process trains it) or ``crashed``.
        job: the runs it is about.
        statuses: of their records, for ``done``.
        seconds: wall time they took, for ``done``.
        error: what went wrong, for ``failed`` runs and crashes.
    """

    kind: str
    job: Job
    statuses: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""


class LocalLauncher:
    """Keeps ``workers`` processes busy; a worker that dies is replaced and its job started again.

    Args:
        workers: processes.
        command: starts one worker; it reads a request per line and answers with a line per event.
        request: the request for a job, as plain values.
        logs: folder for the workers' own output.
        gpus: devices to spread the workers over; 0: none.
    """

    def __init__(
        self,
        workers: int,
        *,
        command: list[str],
        request: Callable[[Job], dict[str, Any]],
        logs: Path,
        gpus: int = 0,
    ) -> None:
        self.workers = workers
        self.command = command
        self.request = request
        self.logs = logs
        self.gpus = gpus

    def run(self, jobs: Iterable[Job], on_progress: Callable[[Progress], Iterable[Job]]) -> None:
        """Execute jobs until none is left.

        Args:
            jobs: in the order to be started.
            on_progress: called (in this thread) with every event; returns jobs to add.
        """
        waiting = list(jobs)
        events: queue.Queue[Progress] = queue.Queue()
        idle = list(range(self.workers))
        attempts: dict[str, int] = {}
        workers = [_Worker(i, self, events) for i in range(self.workers)]
        running = 0
        try:
            while waiting or running:
                while waiting and idle:
                    job = waiting.pop(0)
                    attempts[job[0].run_id] = attempts.get(job[0].run_id, 0) + 1
                    workers[idle.pop(0)].start(job)
                    running += 1
                    on_progress(Progress("started", job))
                event = events.get()
                number = next(w.number for w in workers if w.job is event.job)
                workers[number].job = None
                idle.append(number)
                running -= 1
                if event.kind == "crashed" and attempts[event.job[0].run_id] < MAX_ATTEMPTS:
                    waiting.insert(0, event.job)
                    continue
                waiting.extend(on_progress(event))
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """One process and the thread that listens to it."""

    def __init__(self, number: int, launcher: LocalLauncher, events: queue.Queue[Progress]) -> None:
        self.number = number
        self.job: Job | None = None
        self._launcher = launcher
        self._events = events
        self._process: subprocess.Popen[str] | None = None
        self._log: Any = None

    def start(self, job: Job) -> None:
        self.job = job
        if self._process is None or self._process.poll() is not None:
            self._spawn()
        assert self._process is not None and self._process.stdin is not None
        line = json.dumps(self._launcher.request(job))
        with contextlib.suppress(BrokenPipeError):  # the listening thread reports the death
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        threading.Thread(target=self._listen, args=(self._process, job), daemon=True).start()

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

    def _listen(self, process: subprocess.Popen[str], job: Job) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                answer = json.loads(line)
                kind = answer["event"]
            except (ValueError, KeyError, TypeError):
                print(line, end="", file=sys.stderr)  # a library's own words on standard output
                continue
            self._events.put(
                Progress(
                    kind, job, tuple(answer.get("statuses", ())), answer.get("seconds", 0.0), answer.get("error", "")
                )
            )
            return
        code = process.wait()
        self._events.put(Progress("crashed", job, error=f"its worker ended with exit code {code}"))
