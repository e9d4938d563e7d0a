"""Getting a plan done: start what is missing, grow grids as their groups complete, wait for what others train."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from suite.records import Store
from suite.sweep.launchers.local import Progress
from suite.sweep.packs import Job, jobs_of
from suite.sweep.plan import Group, Plan, PlannedRun

HELD_WAIT_SECONDS = 5.0


class Launcher(Protocol):
    """Executes jobs somewhere; see `suite.sweep.launchers`."""

    def run(self, jobs: Iterable[Job], on_progress: Callable[[Progress], Iterable[Job]]) -> None:
        """Execute jobs, telling every event; the callback returns jobs to add."""


def execute(
    plan: Plan,
    store: Store,
    launcher: Launcher,
    *,
    on_progress: Callable[[Progress], None],
    on_growth: Callable[[list[PlannedRun]], None],
    pack: Callable[[Group], int] = lambda group: 1,
) -> list[str]:
    """Train every run of a plan that has no result, longest first.

    Args:
        plan: the plan; it grows by its edge extensions.
        store: where results are.
        launcher: executes the runs.
        on_progress: told every event.
        on_growth: told runs that an extension added, those that already have a result included.
        pack: most runs of a group to train at once.

    Returns:
        A sentence for every run that failed.
    """
    failed: list[str] = []
    group_of: dict[str, Group] = {run.run_id: group for group in plan.groups for run in group.runs}

    def grow(group: Group) -> list[PlannedRun]:
        while added := plan.extend_group(group, store):
            group_of.update(dict.fromkeys((run.run_id for run in added), group))
            on_growth(added)
            missing = [run for run in added if not store.settled(run.run_id)]
            if missing:
                return missing
        return []

    for group in plan.groups:
        grow(group)
    held: list[PlannedRun] = []

    def tell(event: Progress) -> list[Job]:
        on_progress(event)
        if event.kind == "started":
            return []
        if event.kind == "held":
            held.extend(event.job)
            return []
        for run, status in zip(event.job, event.statuses or ["failed"] * len(event.job), strict=True):
            if status == "failed":
                failed.append(f"{run.optimizer} {run.axes} at batch size {run.batch_size}: {event.error}")
        return jobs_of(plan, grow(group_of[event.job[0].run_id]), pack)

    waiting = plan.missing(store)
    while waiting:
        launcher.run(sorted(jobs_of(plan, waiting, pack), key=lambda job: -job[0].steps * len(job)), tell)
        # What another process trains is waited for, or taken over when that process dies.
        waiting = [run for run in held if not store.settled(run.run_id)]
        held.clear()
        if waiting:
            time.sleep(HELD_WAIT_SECONDS)
    return failed
