"""What the tuned points are: final loss and winning learning rate of every optimizer against batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.style import WIDTH, batch_size_axis, decade_axis, legend_above, optimizer_style, tip
from suite.analysis.table import format_setting, optimizer_title

MOST_INSIDE = 4
"""Optimizers whose names find a place among their lines."""


def tuned_figure(tuned: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Tuned final loss (left) and winning learning rate (right) against batch size; open on the grid's edge.

    Args:
        tuned: tuned points of one task.
        labels: optimizers of the sweep, in its order.
    """
    figure = Figure(figsize=(WIDTH, 2.8))
    loss_axes, lr_axes = figure.subplots(1, 2)
    points = tuned[np.isfinite(tuned["loss"].to_numpy(dtype=float))]
    for axes in (loss_axes, lr_axes):
        batch_size_axis(axes, tuned["batch_size"], octaves=0.6)
    losses = points["loss"].to_numpy(dtype=float)
    wide = len(losses) > 0 and losses.min() > 0 and losses.max() > 20 * losses.min()
    if wide:
        loss_axes.set_yscale("log")
        decade_axis(loss_axes.yaxis, losses)
        loss_axes.set_ylim(losses.min() / 2, losses.max() * 3)
    shown: list[float] = []
    for label in labels:
        own = points[points["optimizer"] == label]
        for point in own.itertuples(index=False):
            words = f"{optimizer_title(label)} at batch size {point.batch_size}: {point.loss:.4f}"
            tip(loss_axes, point.batch_size, point.loss, f"{words}\n{format_setting(point.setting)}")
        edges = own["edges"].map(len).to_numpy() > 0
        above = np.nan_to_num(own["uncertainty"].to_numpy(dtype=float))
        # On a logarithmic axis a bar that reaches zero would have no end.
        below = np.minimum(above, 0.6 * own["loss"].to_numpy(dtype=float)) if wide else above
        bars = np.array([below, above])
        _series(loss_axes, own["batch_size"], own["loss"], bars, edges, label, labels)
        lrs = [dict(setting).get("lr", math.nan) for setting in own["setting"]]
        if all(isinstance(lr, (int, float)) and lr > 0 for lr in lrs) and lrs:
            lr_edges = np.array([any(axis == "lr" for axis, _ in found) for found in own["edges"]])
            lr_axes.set_yscale("log")
            shown += lrs
            _series(lr_axes, own["batch_size"], pd.Series(lrs), None, lr_edges, label, labels)
    if shown:
        decade_axis(lr_axes.yaxis, shown)
        lr_axes.set_ylim(min(shown) / 2, max(shown) * 2)
    loss_axes.set_ylabel("tuned final loss")
    loss_axes.set_title("Tuned final loss")
    lr_axes.set_ylabel("learning rate that won")
    lr_axes.set_title("Winning learning rate")
    if len(labels) > MOST_INSIDE:
        legend_above(figure, *loss_axes.get_legend_handles_labels())
    else:
        loss_axes.legend(loc="best")
    return figure


def _series(
    axes: Axes,
    sizes: pd.Series,
    values: pd.Series,
    bars: np.ndarray | None,
    on_edge: np.ndarray,
    label: str,
    labels: Sequence[str],
) -> None:
    drawn = optimizer_style(label, labels)
    color, x, y = drawn["color"], sizes.to_numpy(dtype=float), values.to_numpy(dtype=float)
    axes.plot(x, y, color=color, linestyle=drawn["linestyle"], marker=drawn["marker"], label=optimizer_title(label))
    if bars is not None:
        axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=color, elinewidth=0.9, capsize=2)
    axes.plot(
        x[on_edge],
        y[on_edge],
        linestyle="none",
        marker=drawn["marker"],
        markerfacecolor="white",
        markeredgecolor=color,
        markeredgewidth=1.3,
        zorder=3,
    )
