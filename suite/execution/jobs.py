"""Divides the runs of a plan into jobs, and decides when training several at once pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from suite.sweep import GroupKey, Plan, PlannedRun

Job = tuple[PlannedRun, ...]
"""The work for one worker: one run, or several to be trained at once."""

PackSize = Callable[[GroupKey], int]
"""A group -> largest number of its runs to train at once."""

MAX_PACK = {"cpu": 16, "cuda": 64}
"""Kind of device -> largest number of runs per pack if the size is not given. A GPU has room for more until its
arithmetic, not the launching of its kernels, takes the time; whether it does is measured."""

LEAST_GAIN = 1.05
"""Smallest speed-up over single runs at which a pack is used."""


def jobs_of(plan: Plan, missing: Iterable[PlannedRun], size: PackSize) -> list[Job]:
    """Divide missing runs into jobs.

    Runs share a pack when they share optimizer, batch size and every choice that is not a number. Diagnostics look at
    batches that all runs see: with them, runs share the seed too, unless ``data.order_seed`` is given. Packs depend on
    the plan alone, so that a restarted sweep finds their checkpoints; a job holds the missing runs of one pack. Trunks
    are trained singly.

    Args:
        plan: the plan.
        missing: the runs to train.
        size: largest number of runs per pack of a group; 1: single runs.
    """
    missing_ids = {run.run_id for run in missing}
    jobs: list[Job] = []
    for group in plan.groups:
        if not any(run.run_id in missing_ids for run in group.runs):
            continue
        set_to = group.panel.overrides.get
        seeds = set_to("data.order_seed") is not None or not set_to("model.diagnostics")
        alike: dict[object, list[PlannedRun]] = {}
        for run in group.runs:
            alike.setdefault(_shared(run, seeds=seeds), []).append(run)
        most = 1 if group.panel.checkpoints else size(group.key)
        for runs in alike.values():
            count = -(-len(runs) // most)  # number of packs, of nearly equal size
            for number in range(count):
                chosen = runs[number * len(runs) // count : (number + 1) * len(runs) // count]
                job = tuple(run for run in chosen if run.run_id in missing_ids)
                if job:
                    jobs.append(job)
    return jobs


def pays(single_seconds: float, pack_seconds: float, runs: int) -> bool:
    """Whether a pack of ``runs`` pays, from the measured seconds per step of one run and of the pack."""
    return runs * single_seconds > LEAST_GAIN * pack_seconds


def _shared(run: PlannedRun, *, seeds: bool) -> object:
    """The values that all runs of a pack share; with ``seeds`` the seed may differ."""
    if run.diagnosed:
        return run.run_id
    choices = tuple((k, v) for k, v in run.axes.items() if not isinstance(v, int | float) or isinstance(v, bool))
    return None if seeds else run.seed, run.steps, run.round, run.reporting, repr(choices)
