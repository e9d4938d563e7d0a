"""``sweep``: trains the runs of a sweep that are missing, extends grids at their edges, shows how far it is."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from suite.cli.measure import key_of, measure, print_costs
from suite.cli.plans import parse_sweep, sweep_parser
from suite.cli.progress import SweepProgress
from suite.cli.runs import Runs
from suite.records import Store
from suite.sweep import Group, Plan, PlannedRun
from suite.sweep.execute import execute
from suite.sweep.launchers.local import LocalLauncher


def main(command: str, arguments: list[str]) -> int:
    """Run a sweep, or with ``--dry-run`` say what it would cost."""
    parser = sweep_parser(
        "sweep", "Train the runs of a sweep that are missing. Safe to kill and to start again at any time."
    )
    parser.add_argument("--launcher", choices=["local"], default="local", help="where runs are executed")
    parser.add_argument("--workers", type=int, help="runs at a time (default: one per GPU, else one per core)")
    parser.add_argument("--dry-run", action="store_true", help="count the runs and estimate the cost from a few steps")
    parser.add_argument(
        "--pack",
        default="auto",
        help="runs trained at once in one process: off, a number, or auto (default: where a measurement says it pays)",
    )
    options, spec, changes = parse_sweep(parser, arguments)
    assert spec is not None
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}.")

    pack = _pack_of(options.pack)
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
        request=lambda job: runs.request(job, options.store),
        logs=store.path / "sweeps" / spec.plan_id / "logs",
        gpus=gpus,
    )
    if options.dry_run:
        print_costs(measure(plan, runs, launcher, missing, pack), missing, workers)
        return 0
    as_typed = " ".join(["python -m suite sweep", *map(shlex.quote, arguments)])

    earlier = store.plan(spec.plan_id) or {}
    sizes: dict[str, int] = dict(earlier.get("packs") or {}) if pack == "auto" else {}

    def write_plan() -> None:
        store.write_plan({**plan.as_record(command=as_typed, title=runs.title), "packs": sizes})

    write_plan()
    sizes = _pack_sizes(plan, runs, launcher, missing, pack, sizes)
    write_plan()
    progress = SweepProgress(total=len(plan.runs), left=missing, workers=workers)

    def on_growth(added: list[PlannedRun]) -> None:
        progress.add(added, [run for run in added if not store.settled(run.run_id)])
        write_plan()

    failed = execute(
        plan,
        store,
        launcher,
        on_progress=progress.update,
        on_growth=on_growth,
        pack=lambda group: sizes.get(_name(group), 1),
    )
    progress.close()
    print(f"\npython -m suite report {options.file} --store {options.store}{changes}   draws the figures.")
    if failed:
        print(f"suite: {len(failed)} runs failed; the first: {failed[0]}", file=sys.stderr)
        return 1
    return 0


def _pack_of(text: str) -> str:
    if text not in ("off", "auto") and not (text.isdigit() and int(text) > 0):
        raise ValueError(f"--pack must be off, auto or a number of runs, got {text!r}.")
    return text


def _pack_sizes(
    plan: Plan, runs: Runs, launcher: LocalLauncher, missing: list[PlannedRun], pack: str, known: dict[str, int]
) -> dict[str, int]:
    """Runs per pack by group; measured where it is to be found out and has not been, for this sweep, before."""
    if pack == "off":
        return {}
    if pack != "auto":
        return {_name(group): int(pack) for group in plan.groups}
    unknown = [run for run in missing if _name(run) not in known]
    costs = measure(plan, runs, launcher, unknown, pack) if unknown else {}
    for key, cost in costs.items():
        known[f"{key[0]} {key[1]}"] = cost.size
        if cost.size > 1:
            gain = cost.single / cost.seconds_per_step
            print(f"{key[0]} at batch size {key[1]}: packs of {cost.size}, {gain:.1f} x as fast as single runs.")
    return known


def _name(item: PlannedRun | Group) -> str:
    return "{} {}".format(*key_of(item))


def _gpus() -> int:
    if not Path("/proc/driver/nvidia").exists() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        return 0
    import torch

    return torch.cuda.device_count()
