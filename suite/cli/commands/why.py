"""``why``: shows what diagnostics measured beside the gaps of a store's sweeps, and what correlates with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from suite.cli.arguments import DEFAULT_STORE
from suite.cli.parser import Parser

if TYPE_CHECKING:
    from suite.analysis.why import Why

SHOWN = {
    "task": "task",
    "batch_size": "batch",
    "relative_gap": "gap %",
    "r": "r",
    "predicted_crossover": "theory",
    "crossover": "crossover",
    "noise_scale": "noise",
    "tail_index": "tail",
    "frequency_gap": "rare",
    "js_distance": "JS",
    "js_distance_end": "JS end",
}
"""Columns that are printed, with their headings."""

LEGEND = """\
Gap: reference less challenger; positive: the challenger (SGD) is better. Theory: the crossover that
it predicts from r, L_2, L_inf and noise. Noise: the simple noise scale, in samples. Crossover 0:
the reference is better wherever the gap is resolved, inf: the challenger. Rare: gap on the rarest
tenth of the targets less gap on the most frequent; negative: the reference's lead is on the rare
ones. JS: distance between the Hessian's blocks at the start and at the end."""


def main(command: str, arguments: list[str]) -> int:
    """Print the table and the correlations."""
    parser = Parser(
        prog="python -m suite why",
        description="What was measured inside the tuned runs, beside their gaps; see docs/diagnostics.md.",
    )
    parser.add_argument("sweeps", nargs="*", type=Path, help="sweeps' YAMLs (default: the store's, as last run)")
    parser.add_argument("--sources", type=Path, metavar="FILE", help="where the YAMLs' datasets are, as for sweep")
    parser.add_argument("--store", default=DEFAULT_STORE, help="folder of the records (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="file for the whole table as well")
    parser.add_argument("--figure", type=Path, metavar="FOLDER", help="folder for why.png and why.svg as well")
    options = parser.parse_args(arguments)
    from suite.analysis.caveats import damage_notes
    from suite.analysis.comparison import compare_plan
    from suite.analysis.diagnosed import store_diagnostics
    from suite.analysis.terminal import printable, text_table
    from suite.analysis.why import why
    from suite.cli.plans import plan_of, read_sources
    from suite.records import Store
    from suite.sweep import read_spec

    store = Store(options.store)
    sources = {} if options.sources is None else read_sources(options.sources)
    specs = [read_spec(file).with_sources(sources) for file in options.sweeps]
    plans = [plan_of(spec, store) for spec in specs] or store.latest_plans()
    if not plans:
        raise ValueError(f"The store {options.store} has no sweep; run one into it first, or give --store.")
    measured = why([compare_plan(store, plan) for plan in plans], store_diagnostics(store, plans))
    rows = [[_cell(row[name]) for name in SHOWN] for _, row in measured.table.iterrows()]
    print(
        printable(
            [
                text_table(list(SHOWN.values()), rows, left=[0]),
                LEGEND,
                "\n".join(sentences(measured)),
                *damage_notes(store.problems),
            ]
        ),
        end="",
    )
    if options.csv is not None:
        from suite.analysis.csv_text import csv_text

        options.csv.write_text(csv_text(measured.table), encoding="utf-8")
        print(f"\nTable: {options.csv}")
    if options.figure is not None:
        _draw(measured, options.figure)
    return 0


def _draw(measured: Why, folder: Path) -> None:
    from suite.analysis.figures.style import caption_of, drawn, save
    from suite.analysis.figures.why import why_figure

    figure = drawn(lambda: why_figure(measured.table, measured.with_gap))
    if figure is None:
        raise ValueError("No measure beside a gap is finite, so there is nothing to draw; leave --figure out.")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\nFigure: {', '.join(map(str, save(figure, folder, 'why')))}\n{caption_of(figure)}")


def sentences(measured: Why) -> list[str]:
    """The correlations, one line per quantity, and how many of them chance alone would make significant."""
    lines = ["With the crossover, one pair of values per task:"]
    lines += [f"  {_title(name):38} {correlation.sentence()}" for name, correlation in measured.with_crossover.items()]
    lines += ["With the relative gap, over the batch sizes of each task:"]
    lines += [f"  {_title(name):38} {correlation.sentence()}" for name, correlation in measured.with_gap.items()]
    tests = sum(not math.isnan(x.rho) for x in [*measured.with_crossover.values(), *measured.with_gap.values()])
    if tests:
        lines.append(
            f"{tests} correlations were looked at: by chance about {0.05 * tests:.1f} of them would have p below 0.05."
        )
    return lines


def _title(name: str) -> str:
    from suite.analysis.why import CORRELATED

    return CORRELATED[name][0]


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return str(value) if not isinstance(value, float) else f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
