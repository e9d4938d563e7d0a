"""What every launcher takes and tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from suite.execution.jobs import Job

MAX_ATTEMPTS = 3
"""Times that a job is started when its worker dies."""

Request = Callable[[Job], dict[str, Any]]
"""A job as the plain values that a worker is asked with."""


@dataclasses.dataclass
class Progress:
    """What a launcher tells while it works.

    Attributes:
        kind: ``started``, ``done`` (with statuses), ``held`` (another process trains it) or ``crashed``.
        job: the runs it is about.
        statuses: of their records, for ``done``.
        seconds: wall time they took, for ``done``.
        error: what went wrong, for ``failed`` runs and crashes.
        figures: what was measured, by name, for jobs that are measured only.
    """

    kind: str
    job: Job
    statuses: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Launcher(Protocol):
    """Executes jobs somewhere.

    Attributes:
        request: what a worker is asked for a job.
    """

    request: Request

    @property
    def sharing(self) -> int:
        """Jobs at a time that share the memory of one device, or of one machine where there is none."""

    def run(self, jobs: Iterable[Job], on_progress: Callable[[Progress], Iterable[Job]]) -> None:
        """Execute jobs until none is left.

        Args:
            jobs: in the order to be started.
            on_progress: called (in this thread) with every event; returns jobs to add.
        """

    def close(self) -> None:
        """End what was kept from one `run` to the next."""


def progress_of(answer: Mapping[str, Any], job: Job) -> Progress:
    """A worker's answer as an event."""
    return Progress(
        str(answer["event"]),
        job,
        tuple(answer.get("statuses", ())),
        float(answer.get("seconds", 0.0)),
        str(answer.get("error", "")),
        dict(answer.get("figures", {})),
    )
