"""``report``: figures, tables and one self-contained page from the records of a sweep, or of a whole store."""

from __future__ import annotations

import os
from pathlib import Path

from suite.cli.figure_options import add_looks, add_selection, add_target, looks_of, selection_of, target_of
from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.fields import one_line
from suite.records import FINAL_LOSSES, Store

MOST_WORKERS = 8
"""Processes that draw an index's pages: more would need more than 2 GB of memory."""


def main(command: str, arguments: list[str]) -> int:
    """Write the report of one sweep, or of every sweep of the store with an index."""
    description = "Figures, tables and a page of a sweep; without a sweep, of every sweep of the store, with an index."
    parser = sweep_parser("report", description, file="?")
    parser.add_argument("--out", type=Path, help="folder of the report (default: in the store)")
    parser.add_argument("--final-loss", choices=FINAL_LOSSES, help="definition (default: the sweep's)")
    add_target(parser)
    add_selection(parser)
    add_looks(parser)
    options, spec, _ = parse_sweep(parser, arguments)
    store, looks, selection = Store(options.store), looks_of(options, several=spec is not None), selection_of(options)
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
    from suite.analysis.report import Shown, write_report
    from suite.analysis.target import with_target

    plan = with_target(plan_of(spec, store), target_of(options))

    folder = options.out or store.path / "sweeps" / plan["plan_id"] / "report"
    shown = Shown(looks=looks, selection=selection)
    print(f"Report: {write_report(store, plan, folder, final_loss=options.final_loss, shown=shown).page}")
    return 0
