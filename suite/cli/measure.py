"""What a step costs, measured: for the estimate of a sweep, and to tell where packs pay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from suite.cli.progress import duration
from suite.cli.runs import Runs
from suite.sweep import Group, Plan, PlannedRun
from suite.sweep.launchers.local import LocalLauncher, Progress
from suite.sweep.packs import MAX_PACK, Job, jobs_of, pack_size

MEASURE_SECONDS = 3.0
"""Wall time that measuring one job's seconds per step may take, about."""

Key = tuple[str, int]
"""Optimizer label and batch size: runs of one key cost the same per step."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Measured cost of a group's runs.

    Attributes:
        single: seconds per step of one run.
        pack: seconds per step of ``size`` runs trained at once; equals ``single`` where that does not pay.
        size: runs per pack; 1: single runs.
    """

    single: float
    pack: float
    size: int

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step and run as they will be trained."""
        return self.pack / self.size


def key_of(item: PlannedRun | Group) -> Key:
    """The key of a run or a group."""
    return item.optimizer, item.batch_size


def measure(plan: Plan, runs: Runs, launcher: LocalLauncher, missing: list[PlannedRun], pack: str) -> dict[Key, Cost]:
    """Measure seconds per step for every optimizer and batch size with missing runs.

    Args:
        plan: the plan.
        runs: resolves its runs.
        launcher: lends its workers.
        missing: runs that are to be trained.
        pack: ``off``, ``auto`` or a number of runs.

    Raises:
        ValueError: a run fails within its first steps.
    """
    most = 1 if pack == "off" else MAX_PACK if pack == "auto" else int(pack)
    jobs: dict[tuple[Key, bool], Job] = {}
    for job in jobs_of(plan, missing, lambda group: most):
        jobs.setdefault((key_of(job[0]), False), job[:1])
        if len(job) > len(jobs.get((key_of(job[0]), True), ())) and len(job) > 1:
            jobs[key_of(job[0]), True] = job
    seconds = _measured(jobs.values(), runs, launcher)
    costs = {}
    for (key, packed), job in jobs.items():
        if packed:
            continue
        single, bunch = seconds[_ids(job)], jobs.get((key, True), job)
        together, size = seconds[_ids(bunch)], len(bunch)
        if pack == "auto":
            size = pack_size(single, together, size)
        costs[key] = Cost(single, single if size == 1 else together, size)
    return costs


def print_costs(costs: dict[Key, Cost], missing: list[PlannedRun], workers: int) -> None:
    """Print what a sweep will cost, from what was measured."""
    print(f"{'optimizer':12} {'batch size':>10} {'runs':>5} {'steps each':>10} {'ms/step':>8} {'pack':>5} {'cost':>9}")
    total = 0.0
    for key, cost in costs.items():
        mine = [run for run in missing if key_of(run) == key]
        seconds = sum(run.steps for run in mine) * cost.seconds_per_step
        total += seconds
        rate = 1000 * cost.seconds_per_step
        print(
            f"{key[0]:12} {key[1]:>10} {len(mine):>5} {mine[0].steps:>10} {rate:>8.2f} {cost.size:>5} "
            f"{duration(seconds):>9}"
        )
    print(
        f"About {duration(total / workers)} with {workers} workers ({duration(total)} of training, measured on a few "
        "steps each; ms/step is per run, of those trained at once), without extensions of grids."
    )


def _ids(job: Job) -> tuple[str, ...]:
    return tuple(run.run_id for run in job)


def _measured(jobs: Iterable[Job], runs: Runs, launcher: LocalLauncher) -> dict[tuple[str, ...], float]:
    seconds: dict[tuple[str, ...], float] = {}
    asked = launcher.request
    launcher.request = lambda job: {**runs.request(job, "", do="measure"), "seconds": MEASURE_SECONDS}

    def keep(event: Progress) -> list[Job]:
        if event.kind == "done" and "measured" not in event.statuses and len(event.job) == 1:
            run = event.job[0]
            raise ValueError(f"{run.optimizer} at batch size {run.batch_size} fails at once: {event.error}")
        if event.kind != "started":
            # What cannot be packed costs as much as its runs one by one, or more.
            seconds[_ids(event.job)] = event.seconds if "measured" in event.statuses else float("inf")
        return []

    try:
        launcher.run(jobs, keep)
    finally:
        launcher.request = asked
    return seconds
