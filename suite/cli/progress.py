"""How far a sweep is: one line that is drawn over on a terminal, or a line now and then in a log."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter

from suite.sweep import PlannedRun
from suite.sweep.launchers.local import Progress

LOG_EVERY_SECONDS = 30.0


class SweepProgress:
    """Counts finished, diverged, running and left, and tells the time to go from what runs have cost so far.

    Args:
        total: runs of the sweep, those already in the store included.
        left: runs to train.
        workers: runs at a time.
    """

    def __init__(self, *, total: int, left: list[PlannedRun], workers: int) -> None:
        self.total = total
        self.left = {run.run_id: run for run in left}
        self.workers = workers
        self.counts: Counter[str] = Counter(finished=total - len(left))
        self.running: dict[str, float] = {}
        self._spent: dict[int, tuple[float, int]] = {}
        self._drawn = 0.0
        self._terminal = sys.stderr.isatty()

    def add(self, added: list[PlannedRun], missing: list[PlannedRun]) -> None:
        """Count runs that an extension added, and those of them that are to be trained."""
        self.total += len(added)
        self.counts["finished"] += len(added) - len(missing)
        self.left.update({run.run_id: run for run in missing})

    def drop(self, runs: list[PlannedRun]) -> None:
        """Expect runs no more: branches whose trunk has diverged."""
        for run in runs:
            self.left.pop(run.run_id, None)

    def update(self, event: Progress) -> None:
        """Count one event and draw."""
        for number, run in enumerate(event.job):
            if event.kind == "started":
                self.running[run.run_id] = time.monotonic()
                continue
            self.running.pop(run.run_id, None)
            if event.kind == "done":
                self.left.pop(run.run_id, None)
                self.counts[event.statuses[number]] += 1
                if event.statuses[number] == "finished":
                    seconds, steps = self._spent.get(run.batch_size, (0.0, 0))
                    share = event.seconds / len(event.job)
                    self._spent[run.batch_size] = (seconds + share, steps + run.steps)
        now = time.monotonic()
        if self._terminal or now - self._drawn > LOG_EVERY_SECONDS:
            self._drawn = now
            print(
                ("\r\x1b[K" if self._terminal else "") + self.line(),
                end="" if self._terminal else "\n",
                file=sys.stderr,
            )
            sys.stderr.flush()

    def line(self) -> str:
        """The state in words."""
        parts = [
            f"{self.counts['finished']} finished",
            f"{len(self.running)} running",
            f"{self.counts['diverged']} diverged",
        ]
        if self.counts["failed"]:
            parts.append(f"{self.counts['failed']} failed")
        parts.append(f"{len(self.left) - len(self.running)} left of {self.total}")
        return f"sweep: {', '.join(parts)}; {self._to_go()}"

    def close(self) -> None:
        """Draw the last state."""
        print(("\r\x1b[K" if self._terminal else "") + self.line(), file=sys.stderr)

    def _to_go(self) -> str:
        if not self.left:
            return "done"
        if not self._spent:
            return "time to go unknown yet"
        rates = {size: seconds / max(1, steps) for size, (seconds, steps) in self._spent.items()}
        nearest = {
            run.batch_size: min(rates, key=lambda size, b=run.batch_size: abs(math.log(size / b)))  # type: ignore[misc]
            for run in self.left.values()
        }
        seconds = sum(run.steps * rates[nearest[run.batch_size]] for run in self.left.values())
        now = time.monotonic()
        together = max(1, len(self.running) // self.workers)
        seconds -= sum(now - begun for begun in self.running.values()) / together
        return f"about {duration(max(0.0, seconds) / self.workers)} to go"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if math.isnan(seconds):
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
