"""What the tuned points are: final loss and winning learning rate of every optimizer against batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.style import WIDTH, batch_size_axis, decade_axis, legend_above, optimizer_style, tip
from suite.analysis.words import format_setting, optimizer_title

MOST_INSIDE = 4
"""Largest number of optimizers whose legend stands inside the panel."""


def tuned_figure(tuned: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Tuned final loss (left) and winning learning rate (right) against batch size; points on the grid's edge are open.

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
    rates: list[float] = []
    for label in labels:
        rows = points[points["optimizer"] == label]
        for point in rows.itertuples(index=False):
            words = f"{optimizer_title(label)} at batch size {point.batch_size}: {point.loss:.4f}"
            tip(loss_axes, point.batch_size, point.loss, f"{words}\n{format_setting(point.setting)}")
        looks = optimizer_style(label, labels)
        sizes, losses = rows["batch_size"].to_numpy(dtype=float), rows["loss"].to_numpy(dtype=float)
        above = np.nan_to_num(rows["uncertainty"].to_numpy(dtype=float))
        # On a logarithmic axis a bar that reaches zero would have no end.
        bars = np.array([np.minimum(above, 0.6 * losses) if wide else above, above])
        _series(loss_axes, sizes, losses, rows["edges"].map(bool).to_numpy(dtype=bool), looks, optimizer_title(label))
        loss_axes.errorbar(sizes, losses, yerr=bars, fmt="none", ecolor=looks["color"], elinewidth=0.9, capsize=2)
        lrs = [dict(setting).get("lr", math.nan) for setting in rows["setting"]]
        if lrs and all(isinstance(lr, int | float) and lr > 0 for lr in lrs):
            lr_edges = np.array([any(axis == "lr" for axis, _ in edges) for edges in rows["edges"]])
            lr_axes.set_yscale("log")
            rates += lrs
            _series(lr_axes, sizes, np.array(lrs, dtype=float), lr_edges, looks, optimizer_title(label))
    if rates:
        decade_axis(lr_axes.yaxis, rates)
        lr_axes.set_ylim(min(rates) / 2, max(rates) * 2)
    loss_axes.set_ylabel("tuned final loss")
    loss_axes.set_title("Tuned final loss")
    lr_axes.set_ylabel("learning rate that won")
    lr_axes.set_title("Winning learning rate")
    if len(labels) > MOST_INSIDE:
        legend_above(figure, *loss_axes.get_legend_handles_labels())
    else:
        loss_axes.legend(loc="best")
    return figure


def _series(axes: Axes, x: np.ndarray, y: np.ndarray, is_open: np.ndarray, looks: dict[str, Any], title: str) -> None:
    axes.plot(x, y, **looks, label=title)
    face = {"linestyle": "none", "markerfacecolor": "white", "markeredgewidth": 1.3, "zorder": 3}
    axes.plot(x[is_open], y[is_open], **{**looks, **face})
