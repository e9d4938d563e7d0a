"""``sweep``: trains the runs of a sweep that are missing, extends grids at their edges, shows how far it is."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

from suite.cli.arguments import read_diagnostics
from suite.cli.plans import parse_sweep, sweep_parser
from suite.execution.execute import due_jobs, execute
from suite.execution.export import export_commands
from suite.execution.jobs import Job
from suite.execution.launchers.launcher import Progress
from suite.execution.launching import LAUNCHERS, launcher_of, split_launcher_options
from suite.execution.measure import Cost, Key, key_of, measure, print_costs
from suite.execution.runs import Runs
from suite.execution.sweep_progress import SweepProgress
from suite.execution.trunks import lost_sentences, lost_trunks
from suite.records import Store
from suite.sweep import Group, Plan, PlannedRun, SweepSpec


def main(command: str, arguments: list[str]) -> int:
    """Run a sweep, or with ``--dry-run`` say what it would cost."""
    left, settings = split_launcher_options(arguments)
    options, spec, changes = parse_sweep(_parser(), left)
    assert spec is not None
    sweep = _Sweep(spec, options, settings, typed=" ".join(["python -m suite sweep", *map(shlex.quote, arguments)]))
    try:
        if options.dry_run:
            sweep.estimate()
            return 0
        sweep.start()
        if options.export_commands is not None:
            return sweep.export(options.export_commands)
        failed = sweep.train()
    finally:
        sweep.launcher.close()
    print(f"\npython -m suite report {options.file} --store {options.store}{changes}   draws the figures.")
    if failed:
        print(f"suite: {len(failed)} runs failed; the first: {failed[0]}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = sweep_parser(
        "sweep", "Train the runs of a sweep that are missing. Safe to kill and to start again at any time."
    )
    parser.add_argument(
        "--launcher",
        choices=LAUNCHERS,
        default="local",
        help="where runs are executed; its settings are --launcher.FIELD VALUE, or a YAML of them (configs/clusters) "
        "given with --launcher.config FILE",
    )
    parser.add_argument(
        "--workers", type=int, help="jobs at a time (default: one per GPU, else one per core; with a cluster, its own)"
    )
    parser.add_argument("--dry-run", action="store_true", help="count the runs and estimate the cost from a few steps")
    parser.add_argument(
        "--pack",
        default="auto",
        help="runs trained at once in one process: off, a number, or auto (default: where a measurement says it pays)",
    )
    parser.add_argument(
        "--compile",
        default="auto",
        choices=("off", "on", "auto"),
        help="whole optimizer steps as one compiled graph (default: where a measurement says that it pays)",
    )
    parser.add_argument(
        "--diagnose",
        metavar="NAMES",
        help="train the tuned settings once more with diagnostics: names with commas between, or a mapping to settings "
        "(default: what the YAML or an earlier call asks for)",
    )
    parser.add_argument(
        "--export-commands",
        type=Path,
        metavar="FILE",
        help="train nothing; write one shell line per missing pack, for GNU parallel, HTCondor and the like",
    )
    return parser


class _Sweep:
    """One call of the command: the plan, what is missing, and who trains it.

    Raises:
        ValueError: an option is wrong, or the data is not that of the plan in the store.
    """

    def __init__(self, spec: SweepSpec, options: argparse.Namespace, settings: dict[str, Any], *, typed: str) -> None:
        if options.workers is not None and options.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {options.workers}.")
        self.pack = _pack_of(options.pack)
        self.compile = options.compile
        self.typed = typed
        self.store = Store(options.store)
        earlier = self.store.plan(spec.plan_id) or {}
        if options.diagnose is not None:
            spec = dataclasses.replace(spec, diagnose=read_diagnostics(options.diagnose))
        elif not spec.diagnose:
            spec = dataclasses.replace(spec, diagnose=earlier.get("diagnose") or {})
        self.runs = Runs(spec)
        self.plan = Plan(spec, self.runs.identify)
        self._refuse_other_data(earlier)
        self.sizes: dict[str, int] = dict(earlier.get("packs") or {}) if self.pack == "auto" else {}
        self.compiled: set[str] = set(earlier.get("compiled") or ()) if self.compile == "auto" else set()
        self.expected: dict[Key, float] = {}
        missing = self.plan.missing(self.store)
        self.missing = self._without_lost(missing)
        count = len(self.plan.runs)
        print(f"{spec.name}: {count} runs, {count - len(missing)} in the store, {len(self.missing)} to train.")
        self.launcher, self.workers = launcher_of(
            options.launcher,
            settings,
            workers=options.workers,
            request=self.request,
            store=self.store,
            plan_id=spec.plan_id,
        )

    def request(self, job: Job) -> dict[str, Any]:
        """What a worker is asked for a job; the data's checksum lets it refuse data that changed since."""
        name = _name(job[0])
        return {
            # The graph is one for packs of the measured size; a smaller one would have to be compiled for itself.
            "compiled": self.compile == "on" or (name in self.compiled and len(job) == self.sizes.get(name, 1)),
            **self.runs.request(job, str(self.store.path)),
            "run_ids": [run.run_id for run in job],
            "fingerprint": self.runs.fingerprints[job[0].panel],
        }

    def estimate(self) -> None:
        """Print the cost of what is missing."""
        print_costs(self._costs(self.missing), self.missing, self.workers)

    def start(self) -> None:
        """Write the plan, and find out which packs pay."""
        self.write_plan()
        if self.pack == "auto":
            unknown = [run for run in self.missing if _name(run) not in self.sizes and not run.keeps]
            costs = self._costs(unknown) if unknown else {}
            self.expected = {key: cost.seconds_per_step for key, cost in costs.items()}
            for key, cost in costs.items():
                name = f"{key[0]} {key[1]}"
                self.sizes[name] = cost.size
                if cost.compiled:
                    self.compiled.add(name)
                if cost.size > 1 or cost.compiled:
                    how = f"packs of {cost.size}{', compiled' if cost.compiled else ''}"
                    print(f"{key[0]} at batch size {key[1]}: {how}, {cost.gain:.1f} x as fast as single runs.")
        elif self.pack != "off":
            self.sizes = {_name(group): int(self.pack) for group in self.plan.groups}
        self.write_plan()

    def write_plan(self) -> None:
        """Write the plan as it is now."""
        record = self.plan.as_record(command=self.typed, title=self.runs.title)
        measured = {"packs": self.sizes, "compiled": sorted(self.compiled)}
        self.store.write_plan({**record, **measured, "fingerprints": self.runs.fingerprints})

    def train(self) -> list[str]:
        """Train what is missing; returns a sentence for every run that failed."""
        progress = SweepProgress(
            total=len(self.plan.runs), left=self.missing, workers=self.workers, expected=self.expected
        )

        def on_growth(added: list[PlannedRun]) -> None:
            progress.add(added, [run for run in added if not self.store.settled(run.run_id)])
            self.write_plan()

        def on_progress(event: Progress) -> None:
            progress.update(event)
            if event.kind == "done" and any(run.keeps for run in event.job):
                kept = {run.run_id for run in self._without_lost(self.missing)}
                progress.drop([run for run in self.missing if run.run_id not in kept])

        failed = execute(
            self.plan,
            self.store,
            self.launcher,
            on_progress=on_progress,
            on_growth=on_growth,
            pack=self._pack_size,
        )
        progress.close()
        for sentence in lost_sentences(self._as_kept(), self.store):
            print(sentence)
        return failed

    def export(self, file: Path) -> int:
        """Write a shell line for every job that is due."""
        jobs = due_jobs(self.plan, self.store, on_growth=lambda added: self.write_plan(), pack=self._pack_size)
        export_commands(file, jobs, self.request, self.store.path / "sweeps" / self.plan.spec.plan_id / "requests")
        then = "whether a grid is to grow"
        if any(run.keeps for job in jobs for run in job):
            then = "their branches, and " + then
        print(f"{len(jobs)} commands in {file}; when they are done, the same command tells {then}.")
        return 0

    def _as_kept(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(run) for run in self.plan.runs if run.keeps or run.initial]

    def _without_lost(self, runs: list[PlannedRun]) -> list[PlannedRun]:
        """Runs less the branches of trunks that have diverged; a failed trunk is tried again."""
        lost = {run_id for run_id, status in lost_trunks(self._as_kept(), self.store).items() if status == "diverged"}
        return [run for run in runs if run.initial is None or run.initial[0] not in lost]

    def _costs(self, runs: list[PlannedRun]) -> dict[Key, Cost]:
        """Measured costs; branch points of one panel differ in their starting weights alone, so one stands for all."""
        alike: dict[Key, object] = {
            key_of(group): (group.branch.of, group.optimizer, group.batch_size) if group.branch else key_of(group)
            for group in self.plan.groups
        }
        first: dict[object, Key] = {}
        for run in runs:
            first.setdefault(alike[key_of(run)], key_of(run))
        costs = self._measured([run for run in runs if first[alike[key_of(run)]] == key_of(run)])
        return {key_of(run): costs[first[alike[key_of(run)]]] for run in runs}

    def _measured(self, unknown: list[PlannedRun]) -> dict[Key, Cost]:
        return measure(self.plan, self.runs, self.launcher, unknown, self.pack, self.compile, workers=self.workers)

    def _pack_size(self, group: Group) -> int:
        return self.sizes.get(_name(group), 1)

    def _refuse_other_data(self, earlier: dict[str, Any]) -> None:
        now = self.runs.fingerprints
        for panel, then in (earlier.get("fingerprints") or {}).items():
            if panel in now and now[panel] != then:
                raise ValueError(
                    f"The data of {earlier.get('task')} changed since this sweep was started in {self.store.path}: its "
                    f"plan was made with data {then}, now there is data {now[panel]}; bring the earlier data back, or "
                    "give another --store for the new data."
                )


def _pack_of(text: str) -> str:
    if text not in ("off", "auto") and not (text.isdigit() and int(text) > 0):
        raise ValueError(f"--pack must be off, auto or a number of runs, got {text!r}.")
    return text


def _name(item: PlannedRun | Group) -> str:
    return "{} {}".format(*key_of(item))
