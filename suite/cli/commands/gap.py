"""``gap``: the gap table of a sweep, or of a CSV of somebody's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite.cli.figure_options import add_selection, add_target, selection_of, target_of
from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.records import FINAL_LOSSES, Store
from suite.records.tuning import MARGIN


def main(command: str, arguments: list[str]) -> int:
    """Print the table."""
    description = "The gap (tuned Adam minus tuned SGD; positive: SGD better) at every batch size."
    parser = sweep_parser("gap", description, file="?")
    parser.add_argument("--csv", help="a table of runs in the form of paper 1's released results, instead of a sweep")
    parser.add_argument("--reference", help="optimizer that the others are compared with (default: adam, else adamw)")
    parser.add_argument("--challenger", help="compare only this one (default: all others)")
    parser.add_argument("--final-loss", choices=FINAL_LOSSES, help="definition (default: the sweep's; of a CSV: ema)")
    parser.add_argument("--export", type=Path, help="also write the sweep's runs, losses included, as such a table")
    parser.add_argument(
        "--margin",
        type=float,
        metavar="PERCENT",
        help=f"of a CSV: percent of the loss within which two are level (default: {MARGIN})",
    )
    add_target(parser)
    add_selection(parser)
    options, spec, _ = parse_sweep(parser, arguments)
    if (spec is None) == (options.csv is None):
        raise ValueError("gap takes a sweep's YAML or --csv FILE, one of the two.")
    if options.margin is not None and (spec is not None or not 0 < options.margin < 100):
        raise ValueError(
            f"--margin takes a percentage above 0, of a CSV alone, got {options.margin:g}; a sweep's stands in its "
            "YAML, as margin, before it is trained."
        )
    if options.export is not None and spec is None:
        raise ValueError("--export writes the runs of a sweep; with --csv they are in a table already.")
    from suite.analysis.comparison import compare_csv, compare_plan
    from suite.analysis.csv_export import export_csv
    from suite.analysis.target import with_target
    from suite.analysis.terminal import format_gap_table

    asked = {"reference": options.reference, "challenger": options.challenger, "selection": selection_of(options)}
    if options.csv is not None:
        rule: dict[str, Any] = {"margin": options.margin or MARGIN, "target": target_of(options)}
        comparison = compare_csv(options.csv, final_loss=options.final_loss, **rule, **asked)
    elif spec is not None:
        store = Store(options.store)
        plan = plan_of(spec, store)
        comparison = compare_plan(store, with_target(plan, target_of(options)), final_loss=options.final_loss, **asked)
    print(format_gap_table(comparison), end="")
    if spec is not None and options.export is not None:
        print(f"\n{export_csv(store, plan, options.export)} runs written to {options.export}.")
    return 0
