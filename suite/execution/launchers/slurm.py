"""Runs jobs as SLURM job arrays, through submitit; at the time limit they save a checkpoint and queue again."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from suite.execution.jobs import Job
from suite.execution.launchers.launcher import Attempts, OnEvent, RequestOf
from suite.execution.launchers.worker_process import WorkerProcess
from suite.execution.messages import Event, WorkRequest
from suite.records.files import read_json, write_text_atomically

_GONE_SECONDS = 30.0
"""Seconds to wait for the answer of a job that SLURM no longer lists; a network file system may show it late."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlurmSettings:
    """Settings of the SLURM launcher; null: the cluster's default.

    Attributes:
        partition: partition to submit to.
        qos: quality of service.
        account: account that is charged for the time.
        gres: generic resources, such as ``gpu:a100:1``.
        time_minutes: time limit of a job; a job that reaches it is queued again.
        signal_seconds: seconds before the time limit at which a job starts to save its checkpoint.
        cpus_per_task: cores per job.
        mem_gb: memory per job, GB.
        array_parallelism: number of jobs of an array that run at a time.
        max_array: largest number of jobs in an array; at most the cluster's MaxArraySize - 1.
        max_requeues: number of times that a job may reach its time limit.
        setup: shell lines to execute before the job, such as ``module load cuda``.
        additional: other options of sbatch, by their long names.
        poll_seconds: seconds between two queries of the queue.
    """

    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    gres: str | None = None
    time_minutes: int = dataclasses.field(default=240, metadata={"at_least": 1})
    signal_seconds: int = dataclasses.field(default=120, metadata={"at_least": 1})
    cpus_per_task: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    mem_gb: float | None = dataclasses.field(default=None, metadata={"above": 0})
    array_parallelism: int = dataclasses.field(default=256, metadata={"at_least": 1})
    max_array: int = dataclasses.field(default=1000, metadata={"at_least": 1})
    max_requeues: int = dataclasses.field(default=1000, metadata={"at_least": 0})
    setup: list[str] = dataclasses.field(default_factory=list)
    additional: dict[str, Any] = dataclasses.field(default_factory=dict)
    poll_seconds: float = dataclasses.field(default=10.0, metadata={"at_least": 0})


class WorkOnNode:
    """The content of a SLURM job: a worker with one request. submitit calls `checkpoint` before the time limit.

    Args:
        command: command of the worker.
        wait_seconds: seconds that the worker has to save its checkpoint.
    """

    def __init__(self, command: list[str], wait_seconds: float) -> None:
        self.command = command
        self.wait_seconds = wait_seconds

    def __call__(self, request: WorkRequest) -> Event:
        """Start a worker and have it carry out the request."""
        # Lightning would configure itself for SLURM, so the worker does not get SLURM's variables.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SUBMITIT_"))}
        self._worker = WorkerProcess(self.command, environment)
        return self._worker.ask(request)

    def checkpoint(self, request: WorkRequest) -> Any:
        """Have the worker save its checkpoint and end; returns the job that submitit is to queue next."""
        from submitit.helpers import DelayedSubmission

        if not self._worker.ask_to_stop(self.wait_seconds):
            self._worker.kill()  # the checkpoint before remains
        return DelayedSubmission(WorkOnNode(self.command, self.wait_seconds), request)


class SlurmLauncher:
    """Submits jobs as arrays and waits for their answers, also for those of jobs that an earlier call submitted.

    Args:
        settings: the launcher's settings.
        command: command of a worker, which reads a request per line and answers with a line.
        folder: folder for submitit's files, the jobs' output and the list of submitted runs; all nodes must see it.

    Raises:
        ValueError: submitit is not installed, or this machine has no access to a SLURM cluster.
    """

    here: ClassVar[bool] = False

    def __init__(self, settings: SlurmSettings, *, command: list[str], folder: Path) -> None:
        self.settings = settings
        self.command = command
        self.folder = folder
        self._executor = _executor(settings, folder)
        self._ended: set[str] = set()

    @property
    def slots(self) -> int:
        """Number of jobs of an array that run at a time."""
        return self.settings.array_parallelism

    @property
    def sharing(self) -> int:
        """One, because each job has its own allocation."""
        return 1

    def run(self, jobs: Iterable[Job], request: RequestOf, on_event: OnEvent) -> None:
        """Execute jobs until none is left; see `suite.execution.launchers.launcher.Launcher`."""
        waiting, attempts = list(jobs), Attempts()
        watched: dict[str, _Watched] = {}
        while waiting or watched:
            for one in self._submitted(waiting, request):
                watched[one.handle.job_id] = one
                attempts.start(one.job)
            waiting = []
            states = queue()
            for job_id, one in list(watched.items()):
                if states.get(job_id) == "RUNNING" and not one.started:
                    one.started = True
                    on_event(one.job, Event("started"))
                event = one.event(job_id in states)
                if event is None:
                    continue
                del watched[job_id]
                self._ended.add(job_id)
                if attempts.again(one.job, event):
                    waiting.append(one.job)
                else:
                    waiting.extend(on_event(one.job, event))
            if watched and not waiting:
                time.sleep(self.settings.poll_seconds)

    def close(self) -> None:
        """Do nothing: the launcher keeps no processes."""

    def _submitted(self, jobs: list[Job], request: RequestOf) -> list[_Watched]:
        """Submit jobs that are not in the queue already."""
        requests = [(job, request(job)) for job in jobs]
        queued = self._queued({_runs_of(request) for _, request in requests} - {""})
        watched = [_Watched(queued[_runs_of(request)], job) for job, request in requests if _runs_of(request) in queued]
        fresh = [(job, request) for job, request in requests if _runs_of(request) not in queued]
        for first in range(0, len(fresh), self.settings.max_array):
            array = fresh[first : first + self.settings.max_array]
            work = WorkOnNode(self.command, max(1.0, self.settings.signal_seconds - 10))
            handles = self._executor.map_array(work, [request for _, request in array])
            runs = {handle.job_id: _runs_of(request) for handle, (_, request) in zip(handles, array, strict=True)}
            name = handles[0].job_id.partition("_")[0]
            write_text_atomically(self.folder / "submitted" / f"{name}.json", json.dumps(runs))
            watched += [_Watched(handle, job) for handle, (job, _) in zip(handles, array, strict=True)]
        return watched

    def _queued(self, wanted: set[str]) -> dict[str, Any]:
        """Handles of jobs that an earlier call submitted and that are still in the queue, by their runs."""
        from submitit import SlurmJob

        states = queue()
        # SLURM may list a job for some seconds after it has answered.
        return {
            runs: SlurmJob(folder=self.folder / "jobs", job_id=job_id)
            for job_id, runs in submitted(self.folder).items()
            if runs in wanted and job_id in states and job_id not in self._ended
        }


@dataclasses.dataclass
class _Watched:
    """A submitted job with its handle in submitit."""

    handle: Any
    job: Job
    started: bool = False
    gone_since: float | None = None

    def event(self, listed: bool) -> Event | None:
        """The job's last event; None while it is queued or running. ``listed``: whether SLURM still lists it."""
        if self.handle.paths.result_pickle.exists():
            error = self.handle.exception()
            if error is not None:
                return Event("crashed", error=str(error).strip().splitlines()[-1])
            return self.handle.result()  # type: ignore[no-any-return]
        if listed:
            self.gone_since = None
            return None
        self.gone_since = self.gone_since or time.monotonic()
        if time.monotonic() - self.gone_since < _GONE_SECONDS:
            return None
        return Event("crashed", error=f"SLURM job {self.handle.job_id} ended without an answer")


def submitted(folder: Path) -> dict[str, str]:
    """SLURM job -> the ids of its runs, joined by blanks, for all jobs that were submitted from this folder."""
    jobs: dict[str, str] = {}
    for path in sorted(folder.glob("submitted/*.json")):
        try:
            content = read_json(path)
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            jobs.update({job: runs for job, runs in content.items() if isinstance(runs, str)})
    return jobs


def queue() -> dict[str, str]:
    """SLURM job (``array_task``) -> its state, for all queued jobs of this user; empty without SLURM."""
    command = ["squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", "%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line.strip())


def states_of_runs(folder: Path) -> dict[str, str]:
    """Run id -> state in SLURM's queue, for the runs that were submitted from this folder and are in the queue."""
    jobs = submitted(folder)
    if not jobs:
        return {}
    states = queue()
    return {run_id: states[job_id] for job_id, runs in jobs.items() if job_id in states for run_id in runs.split()}


def _runs_of(request: WorkRequest) -> str:
    """The ids of a request's runs, joined by blanks; empty for a measurement, which no later call waits for."""
    return " ".join(request.run_ids)


def _executor(settings: SlurmSettings, folder: Path) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ValueError("--launcher slurm needs submitit; install it with pip install submitit.") from error
    try:
        executor = submitit.SlurmExecutor(folder=folder / "jobs", max_num_timeout=settings.max_requeues)
    except RuntimeError as error:
        raise ValueError(
            "--launcher slurm needs sbatch, srun and squeue on this machine; start the sweep on a login node."
        ) from error
    parameters = {
        "job_name": "suite",
        "partition": settings.partition,
        "qos": settings.qos,
        "account": settings.account,
        "gres": settings.gres,
        "time": settings.time_minutes,
        "signal_delay_s": settings.signal_seconds,
        "cpus_per_task": settings.cpus_per_task,
        "mem": None if settings.mem_gb is None else f"{int(1024 * settings.mem_gb)}M",  # plain numbers are megabytes
        "array_parallelism": settings.array_parallelism,
        "setup": settings.setup or None,
        "additional_parameters": settings.additional or None,
    }
    executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})
    return executor
