"""Worker processes on this machine, each training one job after another."""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
from collections.abc import Iterable
from pathlib import Path

from suite.execution.jobs import Job
from suite.execution.launchers.launcher import Attempts, OnEvent, RequestOf
from suite.execution.launchers.worker_process import WorkerProcess
from suite.execution.messages import Event, WorkRequest


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """Settings of the local launcher.

    Attributes:
        workers_per_gpu: workers that share one GPU; small networks leave most of it idle.
    """

    workers_per_gpu: int = dataclasses.field(default=1, metadata={"at_least": 1})


class LocalLauncher:
    """Keeps worker processes busy; a worker that dies is replaced and its job started again.

    Workers outlive a call of `run`: what they have imported and compiled serves the next. `close` ends them.

    Args:
        slots: processes.
        command: starts one worker; it reads a request per line and answers with a line.
        logs: folder for the workers' own output.
        gpus: devices to spread the workers over; 0: none.
    """

    def __init__(self, slots: int, *, command: list[str], logs: Path, gpus: int = 0) -> None:
        self.slots = slots
        self.command = command
        self.logs = logs
        self.gpus = gpus
        self._workers = [_Worker(number, self) for number in range(slots)]

    @property
    def sharing(self) -> int:
        """Workers that share a GPU's memory, or this machine's."""
        return -(-self.slots // (self.gpus or 1))

    def run(self, jobs: Iterable[Job], request: RequestOf, on_event: OnEvent) -> None:
        """Execute jobs until none is left; see `suite.execution.launchers.launcher.Launcher`."""
        waiting, idle, attempts = list(jobs), list(self._workers), Attempts()
        answers: queue.Queue[tuple[_Worker, Job, Event]] = queue.Queue()
        try:
            while waiting or len(idle) < self.slots:
                while waiting and idle:
                    job = waiting.pop(0)
                    attempts.start(job)
                    idle.pop(0).start(job, request(job), answers)
                    on_event(job, Event("started"))
                worker, job, event = answers.get()
                idle.append(worker)
                if attempts.again(job, event):
                    waiting.insert(0, job)
                else:
                    waiting.extend(on_event(job, event))
        except BaseException:
            self.close()  # they are in the middle of something
            raise

    def close(self) -> None:
        """End the workers; the next `run` starts others."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One process and the thread that waits for its answer."""

    def __init__(self, number: int, launcher: LocalLauncher) -> None:
        self._number = number
        self._launcher = launcher
        self._process: WorkerProcess | None = None

    def start(self, job: Job, request: WorkRequest, answers: queue.Queue[tuple[_Worker, Job, Event]]) -> None:
        if self._process is None or not self._process.lives:
            self._process = self._spawned()
        process = self._process
        threading.Thread(target=lambda: answers.put((self, job, process.ask(request))), daemon=True).start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
        self._process = None

    def _spawned(self) -> WorkerProcess:
        launcher = self._launcher
        threads = max(1, (os.cpu_count() or 1) // launcher.slots)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if launcher.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(self._number % launcher.gpus)
        return WorkerProcess(launcher.command, environment, log=launcher.logs / f"worker-{self._number}.log")
