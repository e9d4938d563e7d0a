"""The progress of a sweep: one line that is updated on a terminal, or a line every half minute in a log."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from suite.execution.jobs import Job
from suite.execution.messages import Event
from suite.sweep import GroupKey, PlannedRun

LOG_EVERY_SECONDS = 30.0


class SweepProgress:
    """Counts the runs of a sweep by their state, and estimates the remaining time from the time of finished runs.

    Args:
        total: number of runs of the sweep, including those already in the store.
        left: runs to train.
        workers: number of jobs at a time.
        settled: statuses of the runs that have a result already.
        expected: group -> seconds per step and run, as measured before training.
        grows: whether results will add runs, as a search's, finalists' and reporting seeds' do: then what is left is
            a lower bound.
    """

    def __init__(
        self,
        *,
        total: int,
        left: list[PlannedRun],
        workers: int,
        settled: Iterable[str] = (),
        expected: Mapping[GroupKey, float] | None = None,
        grows: bool = False,
    ) -> None:
        self.total = total
        self.left = {run.run_id: run for run in left}
        self.workers = workers
        self.counts: Counter[str] = Counter(settled)
        self.running: dict[str, tuple[float, int]] = {}
        self._expected = dict(expected or {})
        self._grows = grows
        self._spent: dict[GroupKey, tuple[float, int]] = {}
        self._drawn = 0.0
        self._terminal = sys.stderr.isatty()

    def add(self, added: list[PlannedRun], missing: list[PlannedRun], settled: Iterable[str] = ()) -> None:
        """Add the runs of an extension: those that have to be trained, and the statuses of those with a result."""
        self.total += len(added)
        self.counts.update(settled)
        self.left.update({run.run_id: run for run in missing})

    def drop(self, runs: list[PlannedRun]) -> None:
        """Remove runs that will never be trained, such as branches whose trunk has diverged."""
        for run in runs:
            self.left.pop(run.run_id, None)

    def update(self, job: Job, event: Event) -> None:
        """Update the counts after an event of a job, and draw them.

        A log has a line when a job starts: when one has just ended, its worker has no other yet.
        """
        for number, run in enumerate(job):
            if event.kind == "started":
                self.running[run.run_id] = time.monotonic(), len(job)
                continue
            self.running.pop(run.run_id, None)
            if event.kind == "done":
                self.left.pop(run.run_id, None)
                self.counts[event.statuses[number]] += 1
                if event.statuses[number] == "finished":
                    seconds, steps = self._spent.get(run.key, (0.0, 0))
                    self._spent[run.key] = seconds + event.seconds / len(job), steps + run.steps
        now = time.monotonic()
        if self._terminal or (event.kind == "started" and now - self._drawn > LOG_EVERY_SECONDS):
            self._drawn = now
            self._draw("" if self._terminal else "\n")

    def line(self) -> str:
        """The counts and the remaining time, in words."""
        finished, running, diverged = self.counts["finished"], len(self.running), self.counts["diverged"]
        failed = f"{self.counts['failed']} failed, " if self.counts["failed"] else ""
        left = f"{len(self.left) - running} left of {self.total}; {self._to_go()}"
        return f"sweep: {finished} finished, {running} running, {diverged} diverged, {failed}{left}"

    def close(self) -> None:
        """Draw the final counts."""
        self._draw("\n")

    def _draw(self, end: str) -> None:
        print(("\r\x1b[K" if self._terminal else "") + self.line(), end=end, file=sys.stderr, flush=True)

    def _to_go(self) -> str:
        if not self.left:
            return "done"
        rates = self._expected | {key: seconds / max(1, steps) for key, (seconds, steps) in self._spent.items()}
        if not rates:
            return "time to go unknown yet"
        seconds = sum(self._left_of(run, rates) for run in self.left.values())
        to_go = duration(seconds / self.workers)
        return f"at least {to_go} to go, results add runs" if self._grows else f"about {to_go} to go"

    def _left_of(self, run: PlannedRun, rates: Mapping[GroupKey, float]) -> float:
        """Estimated remaining seconds of a run, or of its share of a pack."""

        def distance(key: GroupKey) -> tuple[float, bool]:
            return abs(math.log(key.batch_size / run.batch_size)), key.label != run.key.label

        begun, together = self.running.get(run.run_id, (None, 1))
        spent = 0.0 if begun is None else (time.monotonic() - begun) / together
        return max(0.0, run.steps * rates[min(rates, key=distance)] - spent)


def duration(seconds: float) -> str:
    """A duration in words, such as ``42 s``, ``5 min`` or ``1.5 h``; ``unknown`` for NaN."""
    if math.isnan(seconds):
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
