"""Worker processes on this machine, each training one job after another."""

from __future__ import annotations

import dataclasses
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from suite.execution.jobs import Job
from suite.execution.launchers.forks import ForkServer
from suite.execution.launchers.launcher import STOP_SECONDS, Attempts, OnEvent, RequestOf
from suite.execution.launchers.visible_devices import VARIABLE
from suite.execution.launchers.worker_process import WorkerProcess
from suite.execution.messages import Event, WorkRequest


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """Settings of the local launcher.

    Attributes:
        workers_per_gpu: number of workers that share a GPU; a small network leaves most of it idle.
    """

    workers_per_gpu: int = dataclasses.field(default=1, metadata={"at_least": 1})


class LocalLauncher:
    """Executes jobs in worker processes; a worker that dies is replaced, and its job is started again.

    Workers stay alive between calls of `run`, because their imports and compiled code can be reused. `close` ends them.

    Args:
        slots: number of worker processes.
        command: command of a worker, which reads a request per line and answers with a line.
        logs: folder for the output of the workers.
        gpus: names of the GPUs to distribute the workers over, see `visible_devices`; empty: none.
        forks: forks workers that have nothing to import; None: each is started by the command.
    """

    here: ClassVar[bool] = True

    def __init__(
        self,
        slots: int,
        *,
        command: list[str],
        logs: Path,
        gpus: Sequence[str] = (),
        forks: ForkServer | None = None,
    ) -> None:
        self.slots = slots
        self.command = command
        self.logs = logs
        self.gpus = tuple(gpus)
        self._forks = forks
        self._workers: dict[int, WorkerProcess] = {}

    @property
    def sharing(self) -> int:
        """Number of workers that share the memory of a GPU, or of this machine without GPUs."""
        return -(-self.slots // (len(self.gpus) or 1))

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
            self._stop()
            raise

    def _stop(self) -> None:
        """Have the workers save what they are in the middle of; end those that do not come to it."""
        living = [worker for worker in self._workers.values() if worker.lives]
        print(f"sweep: {len(living)} workers save their checkpoints; Ctrl-C again ends them at once.", file=sys.stderr)
        try:
            for worker in living:
                worker.ask_to_stop(0)
            until = time.monotonic() + STOP_SECONDS
            for worker in living:
                worker.ask_to_stop(max(0.0, until - time.monotonic()))
        finally:
            self.close()

    def close(self) -> None:
        """End the workers, and what forks them; the next `run` starts others."""
        for worker in self._workers.values():
            worker.kill()
        self._workers = {}
        if self._forks is not None:
            self._forks.close()

    def _send(self, number: int, job: Job, request: WorkRequest, answers: queue.Queue[tuple[int, Job, Event]]) -> None:
        """Send a request to a worker, which is started first if need be; its answer is put into the queue."""
        worker = self._workers.get(number)
        if worker is None or not worker.lives:
            threads = str(max(1, (os.cpu_count() or 1) // self.slots))
            environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
            environment["SUITE_CORES"] = threads  # read by suite.training.data
            if self.gpus:
                environment[VARIABLE] = self.gpus[number % len(self.gpus)]
            log = self.logs / f"worker-{number}.log"
            worker = self._workers[number] = WorkerProcess(self.command, environment, log=log, forks=self._forks)
        threading.Thread(target=lambda: answers.put((number, job, worker.ask(request))), daemon=True).start()
