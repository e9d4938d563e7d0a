"""Smoothed train loss of the tuned points against the share of the budget, and against the time of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from suite.analysis.curves import LossReader, mean_ema
from suite.analysis.figures.layout import at_left, label_bottoms, legend_above, legend_entries, panel_grid
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.style import explain, scaled
from suite.analysis.words import optimizer_title

MOST_POINTS = 600
"""Points of a curve that are drawn at most: more than a printed panel resolves, few enough for a small page."""

START_SHOWN = 0.25
"""Share of the budget after which the loss must be inside the panel: the first fall is steep."""


def curves_figure(
    tuned: pd.DataFrame, losses: LossReader, labels: Sequence[str], seconds: Mapping[str, float] | None = None
) -> Figure | None:
    """Smoothed train loss of the tuned points, a panel per batch size; below it against the time of training.

    Args:
        tuned: tuned points of one task.
        losses: reads the curves.
        labels: optimizers to draw, in order.
        seconds: of training by run; runs that are not in it, or NaN, have no panel of time.

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
    lengths = _lengths(tuned, seconds or {})
    rows = 2 if all(lengths.get(key, math.nan) > 0 for key in curves) else 1
    figure, panels = panel_grid(len(sizes), height=14, narrowest=10, rows=rows, sharey=True)
    for size, column in zip(sizes, panels.T, strict=True):
        drawn = [label for label in labels if (label, size) in curves]
        for label in drawn:
            _draw(column[0], curves[label, size], label, labels)
            if rows == 2:
                _draw(column[1], curves[label, size], label, labels, length=lengths[label, size])
        column[0].set_title(f"batch size {size}")
        column[0].set_xlim(0, 1)
        column[0].xaxis.set_major_formatter(PercentFormatter(1))
        column[0].set_xticks([0, 0.5, 1])
        for axes in column[1:]:
            axes.set_xlim(0, 1.02 * max((lengths[label, size] for label in drawn), default=1.0))
            axes.xaxis.set_major_locator(MaxNLocator(3))
            explain(
                axes, "In a pack a run's seconds are its share of the pack's: what it costs, not what it alone takes."
            )
        for axes in filter(at_left, column):
            axes.set_ylabel("train loss (smoothed)")
    for row, words in zip(panels, ("budget used", "seconds of training"), strict=False):
        label_bottoms(row, words)
    _limit_losses(panels[0, 0], list(curves.values()))
    legend_above(figure, *legend_entries(panels.flat))
    return figure


def _lengths(tuned: pd.DataFrame, seconds: Mapping[str, float]) -> dict[tuple[str, int], float]:
    """Mean seconds of training of the runs of each point; NaN where one is not known."""
    return {
        (point.optimizer, point.batch_size): float(np.mean([seconds.get(run, math.nan) for run in point.run_ids]))
        for point in tuned.itertuples(index=False)
        if point.run_ids
    }


def _limit_losses(axes: Axes, curves: Sequence[np.ndarray]) -> None:
    """Limits within which every curve ends, and is after `START_SHOWN`."""
    ends = [curve[-1] for curve in curves]
    start = max(curve[int(START_SHOWN * (len(curve) - 1))] for curve in curves)
    low, high = min(ends), max(start, max(ends))
    axes.set_ylim(low - 0.06 * (high - low), high)


def _draw(axes: Axes, curve: np.ndarray, label: str, labels: Sequence[str], *, length: float = 1.0) -> None:
    """Draw one curve over an axis of some length."""
    kept = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), MOST_POINTS)).astype(int))
    looks = optimizer_style(label, labels)
    marker = looks.pop("marker")
    axes.plot(
        length * (kept + 1) / len(curve), curve[kept], linewidth=scaled(1.3), label=optimizer_title(label), **looks
    )
    axes.plot([length], curve[-1:], color=looks["color"], marker=marker, markersize=scaled(4), clip_on=False, zorder=3)
