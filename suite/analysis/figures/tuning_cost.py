"""What tuning costs: expected loss of each optimizer, and the gap, after k random trials of the grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.layout import at_left, label_bottoms, legend_above, panel_grid, same_limits
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import fixed_ticks, zero_line
from suite.analysis.figures.style import INK, explain, scaled
from suite.analysis.words import optimizer_title


def tuning_cost_figure(cost: pd.DataFrame, labels: Sequence[str]) -> Figure | None:
    """Expected best loss (top) and its gap (bottom) against the number of random trials, a column per batch size.

    Bands: one standard deviation over the draw of the trials.

    Args:
        cost: rows of `suite.analysis.tuning_cost.tuning_cost_table` for one task and pair.
        labels: optimizers of the sweep, in its order.

    Returns:
        The figure; None where no grid has two settings.
    """
    if cost.empty or cost["trials"].max() < 2:
        return None
    sizes = sorted(cost["batch_size"].unique())
    figure, panels = panel_grid(len(sizes), height=11, narrowest=10, rows=2)
    for (above, below), size in zip(panels.T, sizes, strict=True):
        rows = cost[cost["batch_size"] == size]
        _losses(above, rows, labels)
        zero_line(below)
        below.plot(rows["trials"], rows["gap"], color=INK, linewidth=scaled(1.3))
        for axes in (above, below):
            _trials_axis(axes, int(cost["trials"].max()))
        above.tick_params(axis="x", labelbottom=False)
        above.set_title(f"batch size {size}")
        if at_left(above):
            above.set_ylabel("expected loss")
            below.set_ylabel("expected gap")
    label_bottoms(panels.flat, "random trials")
    for row in panels:  # expected losses have one scale, and gaps another
        same_limits(row)
    explain(panels[0, 0], "Bands: one standard deviation over the draw of the trials.")
    legend_above(figure, *panels[0, 0].get_legend_handles_labels())
    return figure


def _losses(axes: Axes, rows: pd.DataFrame, labels: Sequence[str]) -> None:
    trials = rows["trials"].to_numpy()
    for role in ("reference", "challenger"):
        label = str(rows[role].iloc[0])
        looks = {**optimizer_style(label, labels), "marker": None}
        loss, spread = rows[f"{role}_loss"].to_numpy(), rows[f"{role}_spread"].to_numpy()
        axes.plot(trials, loss, **looks, linewidth=scaled(1.3), label=optimizer_title(label))
        axes.fill_between(trials, loss - spread, loss + spread, color=looks["color"], alpha=0.14, linewidth=0)
    best = np.minimum(rows["reference_loss"], rows["challenger_loss"])
    start = max(rows["reference_loss"].iloc[0], rows["challenger_loss"].iloc[0])
    axes.set_ylim(best.min() - 0.05 * (start - best.min()), start + 0.1 * (start - best.min()) + 1e-9)


def _trials_axis(axes: Axes, most: int) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.85, most / 0.85)
    ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if tick <= most]
    fixed_ticks(axes.xaxis, ticks if len(ticks) <= 6 else ticks[::2], "{:.0f}".format)
