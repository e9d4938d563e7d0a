"""What was measured inside the tuned runs against the gap: a panel per measure, a line per task."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from suite.analysis.figures.style import FAINT, INK, SERIES_COLORS, SERIES_MARKERS, WIDTH, tip
from suite.analysis.rank_correlation import RankCorrelation

TITLES = {
    "r": ("smoothness ratio r = L_inf / L_2", True),
    "noise_scale": ("simple noise scale (samples)", True),
    "tail_index": ("tail index of the noise", False),
    "frequency_gap": ("gap on rare less gap on frequent targets", False),
    "js_distance": ("JS distance of Hessian blocks", False),
    "predicted_crossover": ("predicted crossover batch size", True),
}
"""Column of the table -> what its axis is called, and whether it is logarithmic."""

LINEAR_BELOW = 1.0
"""Per cent of gap below which the axis is linear: gaps of tasks span two decades and both signs."""


def why_figure(table: pd.DataFrame, with_gap: Mapping[str, RankCorrelation]) -> Figure | None:
    """Relative gap against each measure, the batch sizes of a task joined in order.

    Args:
        table: see `suite.analysis.why.Why`.
        with_gap: correlations inside tasks, by column.

    Returns:
        The figure; None where nothing was measured.
    """
    gaps = table["relative_gap"].to_numpy(dtype=float)
    shown = [name for name in TITLES if bool((np.isfinite(table[name].to_numpy(dtype=float)) & ~np.isnan(gaps)).any())]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(WIDTH, 2.1 * rows + 0.6))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    series = list(table.groupby(["task", "reference", "challenger"], sort=False))
    several = len({key[1:] for key, _ in series}) > 1
    for place, axes in enumerate(grid.flat):
        if place >= len(shown):
            axes.set_axis_off()
            continue
        name = shown[place]
        words, logarithmic = TITLES[name]
        for number, ((task, reference, challenger), found) in enumerate(series):
            label = f"{task}: {challenger} against {reference}" if several else str(task)
            ordered = found.sort_values("batch_size")
            ordered = ordered[np.isfinite(ordered[name].to_numpy(dtype=float)) & ordered["relative_gap"].notna()]
            x, y = ordered[name].to_numpy(dtype=float), ordered["relative_gap"].to_numpy(dtype=float)
            color = SERIES_COLORS[number % len(SERIES_COLORS)]
            marker = SERIES_MARKERS[number % len(SERIES_MARKERS)]
            axes.plot(x, y, color=color, linewidth=0.9, alpha=0.7)
            # Small batches are small points.
            sizes = 12 + 9 * np.log2(ordered["batch_size"].to_numpy(dtype=float))
            axes.scatter(x, y, s=sizes, color=color, marker=marker, label=label, zorder=3, linewidths=0)
            for row in ordered.itertuples(index=False):
                value, gap = float(getattr(row, name)), float(row.relative_gap)  # type: ignore[arg-type]
                tip(axes, value, gap, f"{label}\nbatch size {row.batch_size}\n{words} {value:.3g}\ngap {gap:+.2f}%")
        if logarithmic:
            axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
        axes.axhline(0, color=INK, linewidth=0.9, zorder=1.5)
        axes.set_xlabel(words)
        axes.set_title(_said(with_gap.get(name)), color=FAINT)
        if place % columns == 0:
            axes.set_ylabel("relative gap (%)")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)))
    return figure


def _said(found: RankCorrelation | None) -> str:
    if found is None or math.isnan(found.rho):
        return "inside tasks: not known"
    return f"inside tasks: rho {found.rho:+.2f}, p {found.p:.2g}"
