"""``sweep``: trains the runs of a sweep that are missing, extends grids at their edges, shows its progress."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
import shlex
import sys
from pathlib import Path

from suite.cli.arguments import read_diagnostics, read_loggers
from suite.cli.parser import Parser
from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.execution.faults import EXTRAS, needs
from suite.execution.launchers.forks import ForkServer
from suite.execution.launchers.launcher import Launcher
from suite.execution.launching import LAUNCHERS, launcher_of, split_launcher_options
from suite.execution.stop_request import stopped_by_request
from suite.execution.sweeping import Sweep, leaving_nothing_if_refused
from suite.fields import one_line
from suite.records import Store
from suite.sweep import SweepSpec
from suite.sweep.until import Until


def main(command: str, arguments: list[str]) -> int:
    """Run a sweep, or with ``--dry-run`` say what it would cost."""
    words, settings = split_launcher_options(arguments)
    options, spec, changes = parse_sweep(_parser(), words)
    assert spec is not None
    if options.until is not None and spec.until is None:
        spec = dataclasses.replace(spec, until=Until(precision=spec.margin))
    if len(spec.looks) > 1:
        importlib.import_module("suite.analysis.until")  # what it needs is missed now, not after the first runs
    store, workers = Store(options.store), options.workers
    # Before this process does anything else: a fork of a process with threads would not be safe.
    forks = ForkServer.start({panel.task for panel in spec.parts}) if options.launcher == "local" else None
    sweep = Sweep(
        spec,
        store,
        command=" ".join(["python -m suite sweep", *map(shlex.quote, arguments)]),
        diagnose=None if options.diagnose is None else read_diagnostics(options.diagnose),
        pack=_pack_of(options.pack),
        compiled=options.compile,
        loggers=read_loggers(options.logger),
    )
    print(one_line(sweep))
    for path, reason in store.problems:
        print(one_line(f"damaged, so made again: {path} {reason}"))
    launcher = launcher_of(options.launcher, settings, workers=workers, store=store, plan_id=spec.plan_id, forks=forks)
    with leaving_nothing_if_refused(store, spec.plan_id), contextlib.closing(launcher):
        if options.dry_run:
            sweep.estimate(launcher)
            return 0
        with stopped_by_request(store, spec.plan_id):
            sweep.start(launcher)
            if options.export_commands is not None:
                sweep.export(options.export_commands)
                return 0
            failed = _train(sweep, launcher, store)
    print(f"\n{_answers(spec, store)}", end="")
    print(f"\npython -m suite report {options.file} --store {options.store}{changes}   draws the figures.")
    if failed:
        print(one_line(f"suite: {len(failed)} runs failed; the first: {failed[0]}"), file=sys.stderr)
        return 1
    return 0


def _answers(spec: SweepSpec, store: Store) -> str:
    """What the runs say; a machine that only trains may lack what that needs."""
    try:
        from suite.analysis.comparison import compare_plan
        from suite.analysis.terminal import format_answers
    except ModuleNotFoundError as missing:
        if missing.name not in EXTRAS:
            raise
        return needs(missing.name, "What the runs say") + "\n"
    return format_answers(compare_plan(store, plan_of(spec, store)))


def _train(sweep: Sweep, launcher: Launcher, store: Store) -> list[str]:
    """Train what is missing, and with ``until`` reporting seeds until there is a verdict; returns what failed."""
    failed = sweep.train(launcher)
    spec = sweep.plan.spec
    for look in range(1, len(spec.looks)):
        from suite.analysis.comparison import compare_plan
        from suite.analysis.until import undecided

        plan = plan_of(spec, store)
        points = undecided(compare_plan(store, plan), plan)
        if failed or not points:
            break
        if sweep.report_more(points, look):
            failed += sweep.train(launcher)
    return failed


def _parser() -> Parser:
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
    parser.add_argument(
        "--until",
        choices=("verdict",),
        help="add reporting seeds until every batch size has a verdict (default: what the YAML says under until)",
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
        "--logger",
        default="",
        metavar="NAMES",
        help="a log of every run beside its record, in the store's logs folder: csv, tensorboard, wandb, with commas "
        "between (default: none)",
    )
    parser.add_argument(
        "--export-commands",
        type=Path,
        metavar="FILE",
        help="train nothing; write one shell line per missing pack, for GNU parallel, HTCondor and the like",
    )
    return parser


def _pack_of(text: str) -> int | None:
    """Largest number of runs to train at once; None: as many as a measurement finds worth it."""
    if text not in ("off", "auto") and not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise ValueError(f"--pack must be off, auto or a number of runs, got {text!r}.")
    return None if text == "auto" else 1 if text == "off" else int(text)
