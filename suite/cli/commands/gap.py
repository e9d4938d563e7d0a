"""``gap``: the gap table of a sweep, or of a CSV of somebody's results."""

from __future__ import annotations

from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.records import FINAL_LOSSES, Store


def main(command: str, arguments: list[str]) -> int:
    """Print the table."""
    description = "The gap (tuned Adam minus tuned SGD; positive: SGD better) at every batch size."
    parser = sweep_parser("gap", description, file="?")
    parser.add_argument("--csv", help="a table of runs in the form of paper 1's released results, instead of a sweep")
    parser.add_argument("--reference", help="optimizer that the others are compared with (default: adam)")
    parser.add_argument("--challenger", help="compare only this one (default: all others)")
    parser.add_argument("--final-loss", choices=FINAL_LOSSES, help="definition (default: the sweep's; of a CSV: ema)")
    options, spec, _ = parse_sweep(parser, arguments)
    if (spec is None) == (options.csv is None):
        raise ValueError("gap takes a sweep's YAML or --csv FILE, one of the two.")
    from suite.analysis.comparison import compare_csv, compare_plan
    from suite.analysis.terminal import format_gap_table

    pair = {"reference": options.reference, "challenger": options.challenger}
    if options.csv is not None:
        comparison = compare_csv(options.csv, final_loss=options.final_loss or "ema", **pair)
    elif spec is not None:
        store = Store(options.store)
        comparison = compare_plan(store, plan_of(spec, store), final_loss=options.final_loss, **pair)
    print(format_gap_table(comparison), end="")
    return 0
