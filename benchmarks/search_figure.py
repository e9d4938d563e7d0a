"""The figure of regret against runs, from the rows that `benchmarks/search.py --json` has written.

python benchmarks/search_figure.py ROWS.json [ROWS.json ...] --out FILE.png
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

RUNS = (6, 10, 14, 18)
APART = "SGDPlain"
"""Grids of this name have their best setting among settings that diverge: no surface and no neighbour tells it."""

STYLES = {
    "neighbours": ("#D55E00", "search, knowing neighbours"),
    "surface": ("#0072B2", "search, alone"),
    "optuna_tpe": ("#009E73", "Optuna TPE"),
    "optuna_gp": ("#CC79A7", "Optuna GP"),
    "botorch": ("#56B4E9", "BoTorch"),
    "sklearn_fitted": ("#E69F00", "scikit-learn, fitted"),
    "coordinate_descent": ("#999999", "coordinate descent"),
    "random": ("#000000", "random"),
}


def curve(rows: list[dict[str, Any]], method: str, *, apart: bool) -> list[float]:
    """Mean regret over grids after each number of runs."""
    chosen = [r for r in rows if r["method"] == method and r["grid"] != "mean" and (apart or APART not in r["grid"])]
    return [statistics.fmean(r[f"regret_{runs}"] for r in chosen) for runs in RUNS]


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", type=Path, help="files of rows")
    parser.add_argument("--out", type=Path, required=True, help="file of the figure")
    options = parser.parse_args()
    rows = [row for file in options.rows for row in json.loads(file.read_text())]
    count = len({row["grid"] for row in rows} - {"mean"})
    left_out = len({row["grid"] for row in rows if APART in row["grid"]})
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    titles = f"{count - left_out} grids with a smooth best", f"all {count} grids"
    for axis, apart, title in zip(axes, (False, True), titles, strict=True):
        for method, (colour, label) in STYLES.items():
            if any(row["method"] == method for row in rows):
                width = 2.4 if method in ("surface", "neighbours") else 1.3
                axis.plot(RUNS, curve(rows, method, apart=apart), "o-", color=colour, lw=width, ms=4, label=label)
        axis.set(xlabel="runs", yscale="log", title=title, xticks=RUNS)
        axis.grid(alpha=0.25, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("mean regret, % of the loss")
    axes[0].axhline(0.15, color="#444444", lw=0.8, ls=":")
    axes[1].legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(options.out, dpi=150)


if __name__ == "__main__":
    main()
