"""Smoothed train loss of the tuned points against the share of the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from suite.analysis.curves import LossReader, mean_ema
from suite.analysis.figures.layout import at_left, label_bottoms, legend_above, legend_entries, panel_grid
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.style import scaled
from suite.analysis.words import optimizer_title

MOST_POINTS = 600
"""Points of a curve that are drawn at most: more than a printed panel resolves, few enough for a small page."""

START_SHOWN = 0.25
"""Share of the budget after which the loss must be inside the panel: the first fall is steep."""


def curves_figure(tuned: pd.DataFrame, losses: LossReader, labels: Sequence[str]) -> Figure | None:
    """Smoothed train loss of the tuned points, a panel per batch size.

    Args:
        tuned: tuned points of one task.
        losses: reads the curves.
        labels: optimizers to draw, in order.

    Returns:
        The figure; None when no curve could be read.
    """
    sizes = sorted(tuned["batch_size"].unique())
    curves = {
        (point.optimizer, point.batch_size): curve
        for point in tuned.itertuples(index=False)
        if (curve := mean_ema(point.run_ids, losses)) is not None
    }
    if not curves:
        return None
    figure, (panels,) = panel_grid(len(sizes), height=14, narrowest=10, sharey=True)
    for axes, size in zip(panels, sizes, strict=True):
        drawn = [label for label in labels if (label, size) in curves]
        for label in drawn:
            _draw(axes, curves[label, size], label, labels)
        axes.set_title(f"batch size {size}")
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xticks([0, 0.5, 1])
        if at_left(axes):
            axes.set_ylabel("train loss (smoothed)")
    label_bottoms(panels, "budget used")
    ends = [curve[-1] for curve in curves.values()]
    start = max(curve[int(START_SHOWN * (len(curve) - 1))] for curve in curves.values())
    low, high = min(ends), max(start, max(ends))
    panels[0].set_ylim(low - 0.06 * (high - low), high)
    legend_above(figure, *legend_entries(panels))
    return figure


def _draw(axes: Axes, curve: np.ndarray, label: str, labels: Sequence[str]) -> None:
    kept = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), MOST_POINTS)).astype(int))
    looks = optimizer_style(label, labels)
    marker = looks.pop("marker")
    axes.plot((kept + 1) / len(curve), curve[kept], linewidth=scaled(1.3), label=optimizer_title(label), **looks)
    axes.plot([1], curve[-1:], color=looks["color"], marker=marker, markersize=scaled(4), clip_on=False, zorder=3)
