"""``compare``: two stores, or a store and a CSV of somebody's results, side by side."""

from __future__ import annotations

from suite.cli.parser import Parser
from suite.records import FINAL_LOSSES


def main(command: str, arguments: list[str]) -> int:
    """Print which runs, tuned points and gaps differ."""
    parser = Parser(
        prog="python -m suite compare",
        description="Two sides of one question: stores before and after a change, or a store and a CSV of results.",
    )
    parser.add_argument("first", help="folder of a store, or a CSV file")
    parser.add_argument("second", help="folder of a store, or a CSV file")
    parser.add_argument("--sweep", action="append", default=[], help="sweep, or a plan's id; twice: of each")
    parser.add_argument("--final-loss", choices=FINAL_LOSSES, help="definition (default: the sweeps'; of CSVs: ema)")
    options = parser.parse_args(arguments)
    if len(options.sweep) > 2:
        raise ValueError(f"--sweep may be given once or twice, got {len(options.sweep)} times.")
    from suite.analysis.sides_text import format_two_sides
    from suite.analysis.two_sides import open_side, two_sides

    sweeps = (options.sweep * 2)[:2] or [None, None]
    sides = (options.first, options.second)
    first, second = (
        open_side(side, sweep=sweep, final_loss=options.final_loss) for side, sweep in zip(sides, sweeps, strict=True)
    )
    print(format_two_sides(two_sides(first, second), sides), end="")
    return 0
