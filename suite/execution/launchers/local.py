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
        self._workers: dict[int, WorkerProcess] = {}

    @property
    def sharing(self) -> int:
        """Workers that share a GPU's memory, or this machine's."""
        return -(-self.slots // (self.gpus or 1))

    def run(self, jobs: Iterable[Job], request: RequestOf, on_event: OnEvent) -> None:
        """Execute jobs until none is left; see `suite.execution.launchers.launcher.Launcher`."""
        waiting, idle, attempts = list(jobs), list(range(self.slots)), Attempts()
        answers: queue.Queue[tuple[int, Job, Event]] = queue.Queue()
        try:
            while waiting or len(idle) < self.slots:
                while waiting and idle:
                    job = waiting.pop(0)
                    attempts.start(job)
                    self._send(idle.pop(0), job, request(job), answers)
                    on_event(job, Event("started"))
                number, job, event = answers.get()
                idle.append(number)
                if attempts.again(job, event):
                    waiting.insert(0, job)
                else:
                    waiting.extend(on_event(job, event))
        except BaseException:
            self.close()  # they are in the middle of something
            raise

    def close(self) -> None:
        """End the workers; the next `run` starts others."""
        for worker in self._workers.values():
            worker.kill()
        self._workers = {}

    def _send(self, number: int, job: Job, request: WorkRequest, answers: queue.Queue[tuple[int, Job, Event]]) -> None:
        """Ask a worker, a new one where it has died; its answer comes through the queue."""
        worker = self._workers.get(number)
        if worker is None or not worker.lives:
            threads = str(max(1, (os.cpu_count() or 1) // self.slots))
            environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
            if self.gpus:
                environment["CUDA_VISIBLE_DEVICES"] = str(number % self.gpus)
            log = self.logs / f"worker-{number}.log"
            worker = self._workers[number] = WorkerProcess(self.command, environment, log=log)
        threading.Thread(target=lambda: answers.put((number, job, worker.ask(request))), daemon=True).start()
