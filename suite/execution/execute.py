"""Getting a plan done: start what is due, grow grids as their groups complete, wait for what others train."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from suite.execution.jobs import Job, jobs_of
from suite.execution.launchers.launcher import Launcher, Progress
from suite.execution.trunks import can_start
from suite.records import Store
from suite.sweep.plan import Group, Plan
from suite.sweep.planned_run import PlannedRun

HELD_WAIT_SECONDS = 5.0

OnGrowth = Callable[[list[PlannedRun]], None]
"""Told the runs that an extension added, those that already have a result included."""

PackSize = Callable[[Group], int]
"""Most runs of a group to train at once."""


class Growth:
    """Grows the grids of a plan as its groups complete.

    Which runs of a group have no result yet is kept in memory: a store of 100,000 runs is read once, not after every
    run.

    Args:
        plan: the plan; it grows by its edge extensions.
        store: where results are.
        on_growth: told every extension.
    """

    def __init__(self, plan: Plan, store: Store, on_growth: OnGrowth) -> None:
        self._plan = plan
        self._store = store
        self._on_growth = on_growth
        self._open: dict[int, dict[str, PlannedRun]] = {}
        self._groups_of: dict[str, list[Group]] = {}
        self._waiting: dict[str, list[PlannedRun]] = {}
        missing = {run.run_id for run in plan.missing(store)}
        for group in plan.groups:
            self._follow(group, group.runs, missing)

    def missing(self) -> list[PlannedRun]:
        """Runs that are due: without a result, their trunk done, after growing every group that is complete."""
        for group in self._plan.groups:
            self._grow(group)
        return self._due(run for group in self._plan.groups for run in self._open[id(group)].values())

    def ended(self, job: Job) -> list[PlannedRun]:
        """Take note of a job that ended; returns runs that are due in turn: of an extension, or branches of a trunk."""
        touched: dict[int, Group] = {}
        freed: list[PlannedRun] = []
        for run in job:
            if self._store.settled(run.run_id, run.keeps):
                freed += self._waiting.pop(run.run_id, [])
                for group in self._groups_of[run.run_id]:
                    self._open[id(group)].pop(run.run_id, None)
                    touched[id(group)] = group
        return self._due([*freed, *(run for group in touched.values() for run in self._grow(group))])

    def _due(self, runs: Iterable[PlannedRun]) -> list[PlannedRun]:
        """Those that can start now; the others wait for their trunk."""
        due, known = [], dict[tuple[str, int], bool]()
        for run in runs:
            if run.initial is not None and run.initial not in known:
                known[run.initial] = can_start(run.initial, self._store)
            if run.initial is None or known[run.initial]:
                due.append(run)
            else:
                self._waiting.setdefault(run.initial[0], []).append(run)
        return due

    def _grow(self, group: Group) -> list[PlannedRun]:
        while not self._open[id(group)]:
            added = self._plan.extend_group(group, self._store)
            if not added:
                break
            self._follow(group, added, {run.run_id for run in added if not self._store.settled(run.run_id)})
            self._on_growth(added)
            if self._open[id(group)]:
                return list(self._open[id(group)].values())
        return []

    def _follow(self, group: Group, runs: list[PlannedRun], missing: set[str]) -> None:
        mine = self._open.setdefault(id(group), {})
        for run in runs:
            self._groups_of.setdefault(run.run_id, []).append(group)
            if run.run_id in missing:
                mine[run.run_id] = run


def due_jobs(plan: Plan, store: Store, *, on_growth: OnGrowth, pack: PackSize) -> list[Job]:
    """The jobs that are to be done now, longest first; what extensions will ask for later is not known yet."""
    return _longest_first(jobs_of(plan, Growth(plan, store, on_growth).missing(), pack))


def execute(
    plan: Plan,
    store: Store,
    launcher: Launcher,
    *,
    on_progress: Callable[[Progress], None],
    on_growth: OnGrowth,
    pack: PackSize = lambda group: 1,
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
    held: list[PlannedRun] = []
    growth = Growth(plan, store, on_growth)

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
        return jobs_of(plan, growth.ended(event.job), pack)

    waiting = growth.missing()
    while waiting or held:
        if waiting:
            launcher.run(_longest_first(jobs_of(plan, waiting, pack)), tell)
        # What another process trains is waited for, or taken over when that process dies.
        waiting = []
        for run in [run for run in held if store.settled(run.run_id, run.keeps)]:
            held.remove(run)
            waiting += growth.ended((run,))
        free = [run for run in held if not store.is_being_trained(run.run_id)]
        held[:] = [run for run in held if run not in free]
        waiting += free
        if held and not waiting:
            time.sleep(HELD_WAIT_SECONDS)
    return failed


def _longest_first(jobs: list[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: -job[0].steps * len(job))
