"""Trains the runs of a plan: starts those that are due, extends grids, waits for runs that other processes train."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator

from suite.execution.jobs import Job, PackSize, jobs_of
from suite.execution.launchers.launcher import Launcher, RequestOf
from suite.execution.messages import Event
from suite.execution.trunks import can_start
from suite.records import Store
from suite.sweep import Group, GroupKey, Plan, PlannedRun

HELD_WAIT_SECONDS = 5.0

OnGrowth = Callable[[list[PlannedRun]], None]
"""A function that is called with the runs that an extension added, including those that already have a result."""


class Backlog:
    """The runs of a plan that have no result yet; it extends a group's grid when the group is complete.

    The backlog is kept in memory: a store of 100,000 runs is read once, not after every run.

    Args:
        plan: the plan; edge extensions add runs to it.
        store: the store with the results.
        on_growth: called with the runs of every extension.
        pack: largest number of runs of a group to train at once.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        *,
        on_growth: OnGrowth = lambda added: None,
        pack: PackSize = lambda key: 1,
    ) -> None:
        self.store = store
        self._plan = plan
        self._on_growth = on_growth
        self._pack = pack
        missing = {run.run_id for run in plan.missing(store)}
        self._open: dict[GroupKey, dict[str, PlannedRun]] = {
            group.key: {run.run_id: run for run in group.runs if run.run_id in missing} for group in plan.groups
        }

    def due(self) -> list[PlannedRun]:
        """Extend every complete group, then return the runs that can start: they have no result and their trunk has."""
        for group in self._plan.in_order:
            self._grow(group)
        return self._startable(self._all_open())

    def ended(self, job: Job) -> list[PlannedRun]:
        """Remove the runs of an ended job that have a result; returns new runs that can start: extensions, branches."""
        touched: dict[GroupKey, Group] = {}
        freed: list[PlannedRun] = []
        for run in job:
            if self.store.settled(run.run_id, run.keeps):
                if run.keeps:
                    freed += [branch for branch in self._all_open() if (branch.initial or ("",))[0] == run.run_id]
                for group in self._plan.groups:
                    if self._open[group.key].pop(run.run_id, None) is not None:
                        touched[group.key] = group
        waiting = [group for group in self._plan.in_order if not group.runs]
        return self._startable([*freed, *(run for g in [*touched.values(), *waiting] for run in self._grow(g))])

    def jobs(self, runs: Iterable[PlannedRun]) -> list[Job]:
        """Divide runs into jobs, longest first."""
        return sorted(jobs_of(self._plan, runs, self._pack), key=lambda job: -job[0].steps * len(job))

    def _startable(self, runs: Iterable[PlannedRun]) -> list[PlannedRun]:
        """The runs that can start now, which are those whose trunk is done and those without a trunk."""
        trunk_is_done = functools.cache(lambda initial: can_start(initial, self.store))
        return [run for run in runs if run.initial is None or trunk_is_done(run.initial)]

    def _all_open(self) -> Iterator[PlannedRun]:
        return itertools.chain.from_iterable(runs.values() for runs in self._open.values())

    def _grow(self, group: Group) -> list[PlannedRun]:
        """Extend a group's grid if the group is complete; returns the new runs that have no result."""
        if self._open[group.key]:
            return []
        while not self._open[group.key] and (added := self._plan.extend_group(group, self.store)):
            self._open[group.key] = {run.run_id: run for run in added if not self.store.settled(run.run_id)}
            self._on_growth(added)
        return list(self._open[group.key].values())


def execute(
    backlog: Backlog,
    launcher: Launcher,
    request: RequestOf,
    on_event: Callable[[Job, Event], None] = lambda job, event: None,
) -> list[str]:
    """Train every run of a plan that has no result, longest first.

    Args:
        backlog: the plan's backlog.
        launcher: the launcher that executes the runs.
        request: makes a job's request to a worker.
        on_event: called with every event of a job.

    Returns:
        A sentence for every run that failed.
    """
    failed: list[str] = []
    held: list[PlannedRun] = []
    store = backlog.store

    def after(job: Job, event: Event) -> list[Job]:
        on_event(job, event)
        if event.kind == "started":
            return []
        if event.kind == "held":
            held.extend(job)
            return []
        for run, status in zip(job, event.statuses or ["failed"] * len(job), strict=True):
            # What failed here may have been taken over and finished by another process.
            if status in ("failed", "interrupted") and not store.settled(run.run_id, run.keeps):
                why = event.error or "it was stopped before its end"
                failed.append(f"{run.optimizer} {run.axes} at batch size {run.batch_size}: {why}")
        return backlog.jobs(backlog.ended(job))

    waiting = backlog.due()
    while waiting or held:
        if waiting:
            launcher.run(backlog.jobs(waiting), request, after)
        # Runs that another process trains are waited for; if that process dies, they are trained here.
        settled = [run for run in held if store.settled(run.run_id, run.keeps)]
        free = [run for run in held if run not in settled and not store.is_being_trained(run.run_id)]
        held = [run for run in held if run not in settled and run not in free]
        waiting = [*backlog.ended(tuple(settled)), *free]
        if held and not waiting:
            time.sleep(HELD_WAIT_SECONDS)
    return failed
