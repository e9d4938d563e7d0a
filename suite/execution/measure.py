"""What a step costs, measured: for the estimate of a sweep, and to tell where packs and compiled steps pay."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

from suite.execution.jobs import MAX_PACK, Job, jobs_of, pays
from suite.execution.launchers.launcher import Launcher, Progress
from suite.execution.runs import Runs
from suite.execution.sweep_progress import duration
from suite.sweep import Group, Plan, PlannedRun

MEASURE_SECONDS = 1.5
"""Wall time that measuring one job's seconds per step may take after its first steps, about."""

MEASURE_SHARE = 0.015
"""Share of a key's training, run by run, that measuring one of its jobs may take, once that is known."""

COMPILE_FROM = 180.0
"""Seconds of training per worker from which a compiled step is tried: compilation takes a minute on slow cores, and the
worker that compiled keeps the graph."""

MEMORY_SHARE = 0.7
"""Share of the free memory that packs may take."""

Key = tuple[str, int]
"""Label (panel and optimizer) and batch size: runs of one key cost the same per step."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Measured cost of a group's runs.

    Attributes:
        single: seconds per step of one run.
        pack: seconds per step of ``size`` runs trained at once; equals ``single`` where that does not pay.
        size: runs per pack; 1: single runs.
        compiled: whether the whole step is one compiled graph.
        setup: seconds of compilation, once per worker.
        memory: bytes that ``size`` runs take.
    """

    single: float
    pack: float
    size: int
    compiled: bool = False
    setup: float = 0.0
    memory: float = 0.0

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step and run as they will be trained."""
        return self.pack / self.size

    @property
    def gain(self) -> float:
        """How many times as fast as single uncompiled runs."""
        return self.single / self.seconds_per_step


def key_of(item: PlannedRun | Group) -> Key:
    """The key of a run or a group."""
    return item.label, item.batch_size


def measure(
    plan: Plan,
    runs: Runs,
    launcher: Launcher,
    missing: list[PlannedRun],
    pack: str,
    compiled: str = "off",
    *,
    workers: int = 1,
) -> dict[Key, Cost]:
    """Measure seconds per step for every optimizer and batch size with missing runs.

    Packs are tried from the smallest batch size up: where they do not pay, larger ones leave less to be won, and their
    runs are trained one by one.

    Args:
        plan: the plan.
        runs: resolves its runs.
        launcher: lends its workers.
        missing: runs that are to be trained.
        pack: ``off``, ``auto`` or a number of runs.
        compiled: ``off``, ``on``, or ``auto``: where a key's training is long enough to win back the compilation.
        workers: jobs that the launcher does at a time.

    Raises:
        ValueError: a run fails within its first steps.
    """
    most = 1 if pack == "off" else MAX_PACK if pack == "auto" else int(pack)
    singles: dict[Key, Job] = {}
    for run in missing:
        singles.setdefault(key_of(run), (run,))
    steps = {key: sum(run.steps for run in missing if key_of(run) == key) for key in singles}
    alone = {key_of(job[0]): figures for job, figures in _measured(singles.values(), runs, launcher, steps)}

    packs: dict[Key, Job] = {}
    for job in jobs_of(plan, missing, lambda group: _room(alone.get(key_of(group), {}), most, launcher.sharing)):
        if len(job) > max(1, len(packs.get(key_of(job[0]), ()))):
            packs[key_of(job[0])] = job

    def worth(job: Job, figures: Mapping[str, float]) -> bool:
        single, together = alone[key_of(job[0])]["seconds_per_step"], figures["seconds_per_step"]
        return math.isfinite(together) and (pack != "auto" or pays(single, together, len(job)))

    def after(job: Job, figures: Mapping[str, float]) -> list[Job]:
        label, size = key_of(job[0])
        larger = [packs[key] for key in sorted(packs) if key[0] == label and key[1] > size]
        return larger[:1] if worth(job, figures) else []

    smallest = {label: packs[label, size] for label, size in sorted(packs, reverse=True)}
    costs = {key: Cost(alone[key]["seconds_per_step"], alone[key]["seconds_per_step"], 1, memory=alone[key]["memory"])
             for key in singles}  # fmt: skip
    chosen = dict(singles)
    for job, figures in _measured(smallest.values(), runs, launcher, steps, after):
        if worth(job, figures):
            key, memory = key_of(job[0]), figures.get("memory", 0.0)
            costs[key] = Cost(costs[key].single, figures["seconds_per_step"], len(job), memory=memory)
            chosen[key] = job
    if compiled != "off":
        _try_compiled(costs, chosen, steps, workers, runs, launcher, certain=compiled == "on")
    return costs


def _room(figures: Mapping[str, float], most: int, sharing: int) -> int:
    """Runs that fit into a worker's share of the memory, at most ``most``."""
    each = figures.get("memory", 0.0)
    return max(1, min(most, int(MEMORY_SHARE * figures["available"] / sharing / each))) if each else most


def _try_compiled(
    costs: dict[Key, Cost],
    chosen: dict[Key, Job],
    steps: Mapping[Key, int],
    workers: int,
    runs: Runs,
    launcher: Launcher,
    *,
    certain: bool,
) -> None:
    """Put compiled steps into ``costs`` where they are faster over a worker's steps, their compilation included."""
    mine = {key: count / workers for key, count in steps.items()}
    tried = [chosen[key] for key, cost in costs.items() if certain or mine[key] * cost.seconds_per_step > COMPILE_FROM]
    for job, figures in _measured(tried, runs, launcher, steps, compiled=True):
        key, cost = key_of(job[0]), costs[key_of(job[0])]
        fast = Cost(cost.single, figures["seconds_per_step"], len(job), True, figures.get("setup_seconds", 0.0),
                    figures.get("memory", 0.0))  # fmt: skip
        spent = mine[key] * fast.seconds_per_step + fast.setup
        if math.isfinite(spent) and (certain or spent < mine[key] * cost.seconds_per_step):
            costs[key] = fast


def print_costs(costs: dict[Key, Cost], missing: list[PlannedRun], workers: int) -> None:
    """Print what a sweep will cost, from what was measured."""
    print(
        f"{'optimizer':12} {'batch size':>10} {'runs':>5} {'steps each':>10} {'ms/step':>8} {'pack':>5} "
        f"{'compiled':>8} {'memory':>8} {'cost':>9}"
    )
    total = 0.0
    for key, cost in costs.items():
        mine = [run for run in missing if key_of(run) == key]
        seconds = sum(run.steps for run in mine) * cost.seconds_per_step + cost.setup * workers
        total += seconds
        rate = 1000 * cost.seconds_per_step
        print(
            f"{key[0]:12} {key[1]:>10} {len(mine):>5} {mine[0].steps:>10} {rate:>8.2f} {cost.size:>5} "
            f"{'yes' if cost.compiled else 'no':>8} {cost.memory / 2**20:>5.0f} MB {duration(seconds):>9}"
        )
    print(
        f"About {duration(total / workers)} with {workers} workers ({duration(total)} of training, measured on a few "
        "steps each; ms/step is per run, of those trained at once), without extensions of grids."
    )


def _measured(
    jobs: Iterable[Job],
    runs: Runs,
    launcher: Launcher,
    steps: Mapping[Key, int],
    after: Callable[[Job, Mapping[str, float]], list[Job]] = lambda job, figures: [],
    *,
    compiled: bool = False,
) -> list[tuple[Job, Mapping[str, float]]]:
    """Jobs and their figures; ``after`` names the jobs that a figure makes worth measuring."""
    measured: list[tuple[Job, Mapping[str, float]]] = []
    asked = launcher.request
    launcher.request = lambda job: {
        **runs.request(job, "", do="measure"), "compiled": compiled, "seconds": MEASURE_SECONDS,
        "share": MEASURE_SHARE, "run_steps": steps[key_of(job[0])],
    }  # fmt: skip

    def keep(event: Progress) -> list[Job]:
        if event.kind == "started":
            return []
        done = "measured" in event.statuses
        if not done and len(event.job) == 1 and not compiled:
            run = event.job[0]
            raise ValueError(f"{run.optimizer} at batch size {run.batch_size} fails at once: {event.error}")
        # What cannot be packed or compiled costs as much as its runs one by one, or more.
        figures = event.figures if done else {"seconds_per_step": math.inf}
        measured.append((event.job, figures))
        return after(event.job, figures)

    try:
        launcher.run(list(jobs), keep)
    finally:
        launcher.request = asked
    return measured
