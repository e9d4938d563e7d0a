"""Runs jobs as Ray tasks, on an existing cluster or on one that it starts."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from suite.execution.jobs import Job
from suite.execution.launchers.launcher import STOP_SECONDS, Attempts, OnEvent, RequestOf
from suite.execution.launchers.worker_process import WorkerProcess
from suite.execution.messages import Event, WorkRequest
from suite.records import Lease, LeaseHeld, Store

_WAIT_SECONDS = 1.0
_LOOK_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class RaySettings:
    """Settings of the Ray launcher.

    Attributes:
        address: address of the cluster: ``auto`` finds the one of this machine, ``ray://HOST:PORT`` is a client
            connection; null starts a cluster on this machine, which ends with the sweep.
        cpus: cores per job.
        gpus: GPUs per job; with a fraction several jobs share one.
        memory_gb: memory per job, GB; null: not counted.
        retries: number of times that Ray starts a job again when its node is lost.
        shared_store: whether every node can read and write the store's folder; if not, records are sent back through
            Ray, and a job whose node is lost begins anew.
        working_dir: folder with the suite, ``tasks`` and ``models`` to send to the nodes; null: they have them.
    """

    address: str | None = None
    cpus: float = dataclasses.field(default=1, metadata={"at_least": 0})
    gpus: float = dataclasses.field(default=0, metadata={"at_least": 0})
    memory_gb: float | None = dataclasses.field(default=None, metadata={"above": 0})
    retries: int = dataclasses.field(default=3, metadata={"at_least": 0})
    shared_store: bool = True
    working_dir: str | None = None


class RayLauncher:
    """Runs as many jobs at a time as the cluster has resources for; a job whose node is lost is started again.

    Args:
        settings: the launcher's settings.
        command: command of a worker on a node, which reads a request per line and answers with a line.
        store: the store for the results.
        jobs: largest number of jobs at a time; None: as many as the cluster has resources for.

    Raises:
        ValueError: Ray is not installed, or there is no such cluster.
    """

    here: ClassVar[bool] = False

    def __init__(self, settings: RaySettings, *, command: list[str], store: Store, jobs: int | None = None) -> None:
        self.settings = settings
        self.command = command
        self.store = store
        self.jobs = jobs
        self._ray = _connected(settings)

    @property
    def slots(self) -> int:
        """Number of jobs that the cluster's present resources allow at a time, at least one."""
        have = self._ray.cluster_resources()
        memory = None if self.settings.memory_gb is None else self.settings.memory_gb * 1e9
        needs = {"CPU": self.settings.cpus, "GPU": self.settings.gpus, "memory": memory}
        room = [int(have.get(name, 0) / amount) for name, amount in needs.items() if amount]
        slots = max(1, min(room, default=1))
        return slots if self.jobs is None else min(slots, self.jobs)

    @property
    def sharing(self) -> int:
        """Number of jobs that share the memory of a GPU, or of the node with most cores."""
        if self.settings.gpus:
            return max(1, int(1 / self.settings.gpus))
        cores = (node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"])
        return max(1, min(self.slots, int(max(cores, default=1) / (self.settings.cpus or 1))))

    def run(self, jobs: Iterable[Job], request: RequestOf, on_event: OnEvent) -> None:
        """Execute jobs until none is left; see `suite.execution.launchers.launcher.Launcher`."""
        waiting, attempts = deque(jobs), Attempts()
        running: dict[Any, tuple[Job, _Leases]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.slots:
                    job = waiting.popleft()
                    leases = _Leases(self.store)
                    try:
                        task = self._submitted(request(job), leases)
                    except LeaseHeld as held:
                        leases.close()
                        waiting.extend(on_event(job, Event("held", error=str(held))))
                        continue
                    running[task] = job, leases
                    attempts.start(job)
                    on_event(job, Event("started"))
                ready = self._ready(list(running)) if running else []
                for task in ready:
                    job, leases = running.pop(task)
                    with leases:
                        event = self._event(task, leases)
                    if attempts.again(job, event):
                        waiting.appendleft(job)
                    else:
                        waiting.extend(on_event(job, event))
        except BaseException:
            self._stop(list(running))
            raise
        finally:
            for task, (_, leases) in running.items():
                self._ray.cancel(task, force=True)
                leases.close()

    def _ready(self, tasks: list[Any]) -> list[Any]:
        """Those of the tasks that have ended within a second.

        Another thread waits: what a signal's handler raises within Ray's own code leaves it as an error of Ray's.
        """
        answers: queue.Queue[list[Any] | BaseException] = queue.Queue()

        def wait() -> None:
            try:
                answers.put(self._ray.wait(tasks, timeout=_WAIT_SECONDS)[0])
            except BaseException as error:
                answers.put(error)

        threading.Thread(target=wait, daemon=True).start()
        ready = answers.get()
        if isinstance(ready, BaseException):
            raise ready
        return ready

    def _stop(self, tasks: list[Any]) -> None:
        """Have the jobs save their checkpoints, which stay where the nodes see the store."""
        if tasks and self.settings.shared_store:
            print(f"sweep: {len(tasks)} jobs save their checkpoints; Ctrl-C again ends them at once.", file=sys.stderr)
            for task in tasks:
                self._ray.cancel(task)  # raises KeyboardInterrupt in `_work`
            self._ray.wait(tasks, num_returns=len(tasks), timeout=STOP_SECONDS)

    def close(self) -> None:
        """Do nothing: the launcher keeps no processes, and the cluster ends its own."""

    def _submitted(self, request: WorkRequest, leases: _Leases) -> Any:
        settings = self.settings
        carried: dict[str, dict[str, bytes]] = {}
        if not settings.shared_store:
            # No other process can see leases in the folder of the node, so this process holds them in the store.
            for run_id in request.run_ids:
                leases.take(run_id)
            carried = {run_id: self.store.export_record(run_id, [step]) for run_id, step in request.initials.items()}
        task = self._ray.remote(_work).options(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus or None,
            memory=None if settings.memory_gb is None else int(settings.memory_gb * 1e9),
            max_retries=settings.retries,
        )
        folder = os.getcwd() if settings.working_dir is None else None
        return task.remote(self.command, request, settings.shared_store, folder, carried)

    def _event(self, task: Any, leases: _Leases) -> Event:
        try:
            event, records = self._ray.get(task)
        except (self._ray.exceptions.RayError, OSError) as error:
            return Event("crashed", error=f"its node or worker was lost: {str(error).splitlines()[0]}")
        try:
            for run_id, files in records.items():
                self.store.import_record(run_id, files, leases.of[run_id])
        except LeaseHeld as held:  # this process was suspended
            return Event("held", error=str(held))
        return event  # type: ignore[no-any-return]


class _Leases(contextlib.ExitStack):
    """Leases of the runs of one job, held by this process if the node does not see the store."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.of: dict[str, Lease] = {}
        self._store = store

    def take(self, run_id: str) -> None:
        self.of[run_id] = self.enter_context(self._store.lease(run_id))


_WORKERS: dict[tuple[str, ...], WorkerProcess] = {}
"""Workers of this Ray process, kept because importing the networks' libraries takes longer than a short run."""


def _work(
    command: list[str],
    request: WorkRequest,
    shared_store: bool,
    folder: str | None,
    carried: Mapping[str, Mapping[str, bytes]],
) -> tuple[Event, dict[str, dict[str, bytes]]]:
    """Have a worker on this node do a job.

    Args:
        command: command of a worker.
        request: the request to the worker.
        shared_store: whether the node can read and write the store.
        folder: the worker's working directory; None: that of Ray.
        carried: if the store is not shared, the records and weights that the job starts from.

    Returns:
        The worker's answer and, if the store is not shared, the files of the records by run.
    """
    # Ray sets this variable to the GPUs of the task; a worker can serve only tasks with the same GPUs.
    key = (*command, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    if key not in _WORKERS or not _WORKERS[key].lives:
        _WORKERS[key] = WorkerProcess(command, os.environ, folder=folder)
    if shared_store:
        return _answer(_WORKERS[key], request), {}
    with tempfile.TemporaryDirectory() as path:
        store = Store(path)
        for run_id, files in carried.items():
            store.import_record(run_id, files)
        event = _WORKERS[key].ask(dataclasses.replace(request, store=path))
        exported = {run_id: store.export_record(run_id) for run_id in request.run_ids}
        return event, {run_id: files for run_id, files in exported.items() if files}


def _answer(worker: WorkerProcess, request: WorkRequest) -> Event:
    """A worker's answer; a task that is cancelled has the worker save its checkpoint first."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # inherited from a shell's background job; Ray cancels by it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    answers: queue.Queue[Event] = queue.Queue()
    threading.Thread(target=lambda: answers.put(worker.ask(request)), daemon=True).start()
    try:
        while True:  # Ray interrupts this thread between two instructions, not while it waits
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=_LOOK_SECONDS)
    except KeyboardInterrupt:
        worker.ask_to_stop(STOP_SECONDS)
        raise


def _connected(settings: RaySettings) -> Any:
    try:
        import ray
    except ImportError as error:
        raise ValueError("--launcher ray needs Ray; install it with pip install 'ray[default]'.") from error
    if ray.is_initialized():
        return ray
    paths = [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment: dict[str, Any] = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}
    if settings.working_dir is not None:
        environment = {"working_dir": settings.working_dir}
    try:
        ray.init(
            address=settings.address or "local",
            runtime_env=environment,
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=False if settings.address is None else None,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"There is no Ray cluster at {settings.address!r} ({str(error).splitlines()[0]}); start one with "
            "`ray start --head`, or leave --launcher.address out."
        ) from error
    return ray
