"""``report``: figures, tables and one self-contained page from the records of a sweep, or of a whole store."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from suite.cli.figure_options import add_looks, add_selection, add_target, looks_of, selection_of, target_of
from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.fields import ConfigError, one_line
from suite.records import FINAL_LOSSES, Store

if TYPE_CHECKING:
    from suite.analysis.figures.style import Look
    from suite.analysis.selection import Selection
    from suite.sweep import SweepSpec

WATCH_SECONDS = 10.0
"""Seconds between two looks of ``--watch``, if nothing else is said."""

LOOKS_WITHOUT = 2
"""So many looks in a row find nothing missing before a page is final: a sweep may be about to extend a grid."""

MOST_WORKERS = 8
"""Processes that draw an index's pages: more would need more than 2 GB of memory."""


def main(command: str, arguments: list[str]) -> int:
    """Write the report of one sweep, or of every sweep of the store with an index."""
    description = "Figures, tables and a page of a sweep; without a sweep, of every sweep of the store, with an index."
    parser = sweep_parser("report", description, file="?")
    parser.add_argument("--out", type=Path, help="folder of the report (default: in the store)")
    parser.add_argument("--final-loss", choices=FINAL_LOSSES, help="definition (default: the sweep's)")
    add_target(parser)
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=WATCH_SECONDS,
        metavar="SECONDS",
        help="draw the page anew while the sweep runs, as soon as there are new results; a browser that shows it loads "
        f"it so often (default: {WATCH_SECONDS:g})",
    )
    add_selection(parser)
    add_looks(parser)
    options, spec, _ = parse_sweep(parser, arguments)
    if options.watch is not None:
        if spec is None:
            raise ConfigError("--watch is for the page of one sweep; give its YAML as well.")
        if not 1 <= options.watch <= 86_400:
            raise ConfigError(f"--watch must be from 1 to 86,400 seconds, got {options.watch:g}.")
    store, selection = Store(options.store), selection_of(options)
    looks = looks_of(options, several=spec is not None and options.watch is None)
    if spec is None:
        if options.optimizers or options.batch_sizes or options.target is not None:
            raise ValueError("--optimizers, --batch-sizes and --target are about one sweep; give its YAML as well.")
        from suite.analysis.report import write_index

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        folder, workers = options.out or store.path / "report", min(cores, MOST_WORKERS)
        page, left_out = write_index(store, folder, final_loss=options.final_loss, workers=workers, looks=looks)
        for sentence in left_out:
            print(one_line(f"left out: {sentence}"))
        print(f"Index: {page}")
        return 0
    if options.watch is not None:
        return _watch(spec, store, options, looks, selection)
    from suite.analysis.report import Shown, write_report
    from suite.analysis.target import with_target

    plan = with_target(plan_of(spec, store), target_of(options))
    shown = Shown(looks=looks, selection=selection)
    written = write_report(store, plan, _folder(options, store, spec), final_loss=options.final_loss, shown=shown)
    print(f"Report: {written.page}")
    return 0


def _watch(
    spec: SweepSpec, store: Store, options: argparse.Namespace, looks: tuple[Look, ...], selection: Selection
) -> int:
    """Draw the page whenever there are new results, until there are no more to come."""
    from suite.analysis.report import Shown, write_report
    from suite.analysis.target import with_target

    folder, without = _folder(options, store, spec), 0
    if store.plan(spec.plan_id) is None:
        print(f"Waiting for the sweep {spec.file} to begin in {store.path}; start it in another terminal.", flush=True)
        while store.plan(spec.plan_id) is None:
            time.sleep(options.watch)
    print(f"Report: {folder / 'index.html'}", flush=True)
    while True:
        plan = with_target(plan_of(spec, store), target_of(options))
        missing = sum(not store.settled(run["run_id"]) for run in plan["runs"])
        without = 0 if missing else without + 1
        over = without >= LOOKS_WITHOUT
        shown = Shown(looks=looks, selection=selection, watch_seconds=None if over else options.watch)
        write_report(store, plan, folder, final_loss=options.final_loss, shown=shown, anew=False)
        if over:
            print("Every run has a result; the page is final.")
            return 0
        time.sleep(options.watch)


def _folder(options: argparse.Namespace, store: Store, spec: SweepSpec) -> Path:
    return Path(options.out or store.path / "sweeps" / spec.plan_id / "report")
