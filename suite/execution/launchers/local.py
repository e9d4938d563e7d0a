"""Worker processes on this machine, each training one job after another."""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from suite.execution.jobs import Job
from suite.execution.launchers.launcher import MAX_ATTEMPTS, Progress, Request, progress_of
from suite.execution.launchers.worker_process import WorkerDied, WorkerProcess

__all__ = ["LocalLauncher", "LocalSettings", "Progress"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """Settings of the local launcher.

    Attributes:
        workers_per_gpu: workers that share one GPU; small networks leave most of it idle.
    """

    workers_per_gpu: int = 1


class LocalLauncher:
    """Keeps ``workers`` processes busy; a worker that dies is replaced and its job started again.

    Workers outlive a call of `run`: what they have imported and compiled serves the next. `close` ends them.

    Args:
        workers: processes.
        command: starts one worker; it reads a request per line and answers with a line per event.
        request: the request for a job, as plain values.
        logs: folder for the workers' own output.
        gpus: devices to spread the workers over; 0: none.
    """

    def __init__(self, workers: int, *, command: list[str], request: Request, logs: Path, gpus: int = 0) -> None:
        self.workers = workers
        self.command = command
        self.request = request
        self.logs = logs
        self.gpus = gpus
        self._workers = [_Worker(number, self) for number in range(workers)]

    @property
    def sharing(self) -> int:
        """Workers that share a GPU's memory, or this machine's."""
        return -(-self.workers // (self.gpus or 1))

    def run(self, jobs: Iterable[Job], on_progress: Callable[[Progress], Iterable[Job]]) -> None:
        """Execute jobs until none is left; see `suite.execution.launchers.launcher.Launcher`."""
        waiting = list(jobs)
        events: queue.Queue[Progress] = queue.Queue()
        workers = self._workers
        idle = list(range(self.workers))
        attempts: dict[str, int] = {}
        running = 0
        try:
            while waiting or running:
                while waiting and idle:
                    job = waiting.pop(0)
                    attempts[job[0].run_id] = attempts.get(job[0].run_id, 0) + 1
                    workers[idle.pop(0)].start(job, events)
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
        self.number = number
        self.job: Job | None = None
        self._launcher = launcher
        self._process: WorkerProcess | None = None

    def start(self, job: Job, events: queue.Queue[Progress]) -> None:
        self.job = job
        if self._process is None or not self._process.lives:
            self._process = self._spawned()
        request = self._launcher.request(job)
        threading.Thread(target=self._listen, args=(self._process, request, job, events), daemon=True).start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
        self.job = self._process = None

    def _spawned(self) -> WorkerProcess:
        launcher = self._launcher
        threads = max(1, (os.cpu_count() or 1) // launcher.workers)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if launcher.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(self.number % launcher.gpus)
        return WorkerProcess(launcher.command, environment, log=launcher.logs / f"worker-{self.number}.log")

    @staticmethod
    def _listen(process: WorkerProcess, request: dict, job: Job, events: queue.Queue[Progress]) -> None:
        try:
            event = progress_of(process.ask(request), job)
        except WorkerDied as death:
            event = Progress("crashed", job, error=str(death))
        events.put(event)
