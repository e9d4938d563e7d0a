"""``sweep``: trains the runs of a sweep that are missing, extends grids at their edges, shows how far it is."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from suite.cli.plans import parse_sweep, sweep_parser
from suite.cli.progress import SweepProgress, duration
from suite.cli.runs import Runs
from suite.records import Store
from suite.sweep import Plan, PlannedRun
from suite.sweep.execute import execute
from suite.sweep.launchers.local import LocalLauncher, Progress

MEASURE_SECONDS = 3.0
"""Wall time that measuring one group's seconds per step may take, about."""


def main(command: str, arguments: list[str]) -> int:
    """Run a sweep, or with ``--dry-run`` say what it would cost."""
    parser = sweep_parser(
        "sweep", "Train the runs of a sweep that are missing. Safe to kill and to start again at any time."
    )
    parser.add_argument("--launcher", choices=["local"], default="local", help="where runs are executed")
    parser.add_argument("--workers", type=int, help="runs at a time (default: one per GPU, else one per core)")
    parser.add_argument("--dry-run", action="store_true", help="count the runs and estimate the cost from a few steps")
    options, spec, changes = parse_sweep(parser, arguments)
    assert spec is not None
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}.")

    store = Store(options.store)
    runs = Runs(spec)
    plan = Plan(spec, runs.identify)
    gpus = _gpus()
    workers = options.workers or gpus or os.cpu_count() or 1
    missing = plan.missing(store)
    print(f"{spec.name}: {len(plan.runs)} runs, {len(plan.runs) - len(missing)} in the store, {len(missing)} to train.")
    launcher = LocalLauncher(
        workers,
        command=[sys.executable, "-m", "suite", "worker"],
        request=lambda run: runs.request(run, options.store),
        logs=store.path / "sweeps" / spec.plan_id / "logs",
        gpus=gpus,
    )
    if options.dry_run:
        _estimate(plan, runs, launcher, missing)
        return 0
    as_typed = " ".join(["python -m suite sweep", *map(shlex.quote, arguments)])

    def write_plan() -> None:
        store.write_plan(plan.as_record(command=as_typed, title=runs.title))

    write_plan()
    progress = SweepProgress(total=len(plan.runs), left=missing, workers=workers)

    def on_growth(added: list[PlannedRun]) -> None:
        progress.add(added, [run for run in added if not store.settled(run.run_id)])
        write_plan()

    failed = execute(plan, store, launcher, on_progress=progress.update, on_growth=on_growth)
    progress.close()
    print(f"\npython -m suite report {options.file} --store {options.store}{changes}   draws the figures.")
    if failed:
        print(f"suite: {len(failed)} runs failed; the first: {failed[0]}", file=sys.stderr)
        return 1
    return 0


def _estimate(plan: Plan, runs: Runs, launcher: LocalLauncher, missing: list[PlannedRun]) -> None:
    """Measure seconds per step once per optimizer and batch size and print the cost of what is missing."""
    samples = {(run.optimizer, run.batch_size): run for run in missing}
    launcher.request = lambda run: {**runs.request(run, "", do="measure"), "seconds": MEASURE_SECONDS}
    rates: dict[tuple[str, int], float] = {}

    def on_progress(event: Progress) -> list[PlannedRun]:
        if event.status == "failed":
            raise ValueError(f"{event.run.optimizer} at batch size {event.run.batch_size} fails: {event.error}")
        if event.status == "measured":
            rates[event.run.optimizer, event.run.batch_size] = event.seconds
        return []

    launcher.run(samples.values(), on_progress)
    total = 0.0
    print(f"{'optimizer':12} {'batch size':>10} {'runs':>5} {'steps each':>10} {'ms/step':>8} {'cost':>9}")
    for (label, size), run in samples.items():
        count = sum(1 for r in missing if (r.optimizer, r.batch_size) == (label, size))
        cost = count * run.steps * rates.get((label, size), float("nan"))
        total += cost
        rate = 1000 * rates.get((label, size), float("nan"))
        print(f"{label:12} {size:>10} {count:>5} {run.steps:>10} {rate:>8.2f} {duration(cost):>9}")
    print(
        f"About {duration(total / launcher.workers)} with {launcher.workers} workers ({duration(total)} of training, "
        "measured on a few steps each), without extensions of grids."
    )


def _gpus() -> int:
    if not Path("/proc/driver/nvidia").exists() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        return 0
    import torch

    return torch.cuda.device_count()
