"""What every launcher does: it executes jobs and reports events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from suite.execution.jobs import Job
from suite.execution.messages import Event, WorkRequest

MAX_ATTEMPTS = 3
"""Times that a job is started when its worker dies."""

RequestOf = Callable[[Job], WorkRequest]
"""A job -> the request to a worker."""

OnEvent = Callable[[Job, Event], Iterable[Job]]
"""Called with every event of a job; returns jobs to add."""


class Launcher(Protocol):
    """Executes jobs somewhere."""

    @property
    def slots(self) -> int:
        """Jobs that are executed at a time."""

    @property
    def sharing(self) -> int:
        """Jobs at a time that share the memory of one device, or of one machine where there is none."""

    def run(self, jobs: Iterable[Job], request: RequestOf, on_event: OnEvent) -> None:
        """Execute jobs until none is left.

        Args:
            jobs: in the order to be started.
            request: makes the request to a worker from a job.
            on_event: called in this thread.
        """

    def close(self) -> None:
        """End the processes that `run` left for the next call."""


class Attempts:
    """Counts how often each job was started."""

    def __init__(self) -> None:
        self._starts: Counter[str] = Counter()

    def start(self, job: Job) -> None:
        """Count a start."""
        self._starts[job[0].run_id] += 1

    def again(self, job: Job, event: Event) -> bool:
        """Whether a job whose worker died is to be started again."""
        return event.kind == "crashed" and self._starts[job[0].run_id] < MAX_ATTEMPTS
