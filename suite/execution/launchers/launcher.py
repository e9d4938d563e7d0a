"""The interface of launchers, which execute jobs and report events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

from suite.execution.jobs import Job
from suite.execution.messages import Event, WorkRequest

MAX_ATTEMPTS = 3
"""Number of times that a job is started at most, if its worker dies every time."""

STOP_SECONDS = 600.0
"""What workers are given to save their checkpoints: the longest step that is waited for."""

RequestOf = Callable[[Job], WorkRequest]
"""A job -> its request to a worker."""

OnEvent = Callable[[Job, Event], Iterable[Job]]
"""A function that is called with every event of a job, and returns jobs to add."""


class Launcher(Protocol):
    """Executes jobs, on this machine or a cluster."""

    here: ClassVar[bool]
    """Whether jobs are executed on this machine."""

    @property
    def slots(self) -> int:
        """Number of jobs that are executed at a time."""

    @property
    def sharing(self) -> int:
        """Number of concurrent jobs that share the memory of one GPU, or of one machine without GPUs."""

    def run(self, jobs: Iterable[Job], request: RequestOf, on_event: OnEvent) -> None:
        """Execute jobs until none is left.

        Args:
            jobs: the jobs, in the order of their start.
            request: makes a job's request to a worker.
            on_event: called in this thread with every event; the jobs that it returns are executed too.
        """

    def close(self) -> None:
        """End the processes that `run` keeps for its next call."""


class Attempts:
    """Counts how often each job was started."""

    def __init__(self) -> None:
        self._starts: Counter[str] = Counter()

    def start(self, job: Job) -> None:
        """Count a start of a job."""
        self._starts[job[0].run_id] += 1

    def again(self, job: Job, event: Event) -> bool:
        """Whether to start a job again: its worker died or was stopped, at fewer than ``MAX_ATTEMPTS`` starts."""
        ended = event.kind == "crashed" or "interrupted" in event.statuses
        return ended and self._starts[job[0].run_id] < MAX_ATTEMPTS
