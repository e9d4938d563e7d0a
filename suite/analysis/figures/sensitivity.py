"""Sensitivity to tuning: final loss against learning rate, a line per momentum, a panel per batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from suite.analysis.figures.style import (
    INK,
    PANELS_PER_ROW,
    SERIES_MARKERS,
    at_left,
    decade_axis,
    optimizer_style,
    panel_grid,
    shades,
)
from suite.analysis.tuned import choosing, lowest_losses, tuned_setting
from suite.analysis.words import format_value, optimizer_title
from suite.records.tuning import axes_of, is_ordered

STRIP = "#f1f1f1"
CUT_QUANTILE = 0.85
"""Losses above this quantile are drawn at the upper border: what matters is the neighbourhood of the best."""
_MOMENTA = ("momentum", "beta", "beta1", "betas", "beta2")


@dataclass(frozen=True)
class _Lines:
    """How the runs of one optimizer are drawn.

    Attributes:
        x_name: axis of the grid that goes along x.
        x_values: its values.
        line_name: axis that makes the lines; None for a single line.
        line_values: its values; None alone for a single line.
        colors: one per line.
    """

    x_name: str
    x_values: list[float]
    line_name: str | None
    line_values: list[Any]
    colors: list[tuple[float, float, float]]

    @property
    def axes(self) -> list[str]:
        """The axes that tell the points apart."""
        return [self.x_name, self.line_name] if self.line_name else [self.x_name]


def sensitivity_figure(runs: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Final loss against learning rate for every optimizer (rows) and batch size (columns).

    Losses are those on the seeds that chose. A ring marks the tuned point, a triangle at the upper border a loss
    beyond the panel, a cross a diverged run.

    Args:
        runs: runs of one task.
        labels: optimizers to draw, in order; those without a learning rate to vary are left out.
    """
    runs = choosing(runs)
    by_label = {label: runs[runs["optimizer"] == label] for label in labels}
    drawn = {label: lines for label in labels if (lines := _lines(by_label[label], label, labels)) is not None}
    sizes = sorted(runs["batch_size"].unique())
    figure, panels = panel_grid(len(sizes), 1.75, rows=max(len(drawn), 1), sharey=True)
    bottom, top = _limits(runs)
    for row, (label, lines) in zip(panels, drawn.items(), strict=False):
        for axes, size in zip(row, sizes, strict=True):
            group = by_label[label]
            _panel(axes, group[group["batch_size"] == size], lines, (bottom, top))
            axes.set_xscale("log")
            decade_axis(axes.xaxis, lines.x_values)
            axes.set_xlim(min(lines.x_values) / 1.6, max(lines.x_values) * 1.6)
            _diverged_strip(axes, bottom, top, len(lines.line_values), first=at_left(axes))
            axes.set_title(f"{optimizer_title(label)}, batch size {size}", fontsize=7.5)
            axes.set_xlabel("learning rate" if lines.x_name == "lr" else lines.x_name)
            if at_left(axes):
                axes.set_ylabel("final loss")
        if lines.line_name is not None:
            beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.03), "borderaxespad": 0.2}
            looks = {"fontsize": 7, "title_fontsize": 7, "handlelength": 1.6, "labelspacing": 0.3}
            row[:PANELS_PER_ROW][-1].legend(title=lines.line_name, **looks, **beside)
    return figure


def line_axes(runs: pd.DataFrame) -> tuple[str, str | None] | None:
    """Which axis goes along x and which makes the lines: learning rate first, then a momentum, then the rest.

    Returns:
        Names of the two axes; the second is None with a single axis. None when nothing numeric and positive
        varies.
    """
    axes = _numeric_axes(runs)
    x_name = "lr" if "lr" in axes else next((name for name, values in axes.items() if values[0] > 0), None)
    if x_name is None:
        return None
    rest = sorted((name for name in axes if name != x_name), key=lambda name: name not in _MOMENTA)
    return x_name, rest[0] if rest else None


def momentum_axes(runs: pd.DataFrame) -> tuple[str, str] | None:
    """The later and the earlier of the first two momenta that vary (``beta2`` and ``beta1``), or None."""
    axes = _numeric_axes(runs)
    names = [name for name in _MOMENTA if name in axes]
    return (names[1], names[0]) if len(names) > 1 else None


def _numeric_axes(runs: pd.DataFrame) -> dict[str, list[float]]:
    """The axes of the runs' settings that have several numbers, and a learning rate above zero."""
    return {
        name: values
        for name, values in axes_of(dict.fromkeys(runs["setting"]))
        if is_ordered(values) and len(values) > 1 and (name != "lr" or values[0] > 0)
    }


def _lines(runs: pd.DataFrame, label: str, labels: Sequence[str]) -> _Lines | None:
    names = line_axes(runs)
    if names is None:
        return None
    axes = dict(axes_of(runs["setting"]))
    line_values = [None] if names[1] is None else axes[names[1]]
    colors = shades(optimizer_style(label, labels)["color"], len(line_values))
    return _Lines(names[0], axes[names[0]], names[1], line_values, colors)


def _limits(runs: pd.DataFrame) -> tuple[float, float]:
    """Lower and upper end of the loss axis."""
    finite = runs[np.isfinite(runs["loss"])]
    if finite.empty:
        return 0.0, 1.0
    best = finite["loss"].min()
    # Every tuned point must be inside, whatever the quantile says.
    tuned = float(finite.groupby(["optimizer", "batch_size"])["loss"].min().max())
    top = max(float(finite["loss"].quantile(CUT_QUANTILE)), tuned + 0.25 * float(tuned - best), best + 1e-6)
    return best - 0.08 * (top - best), top


def _panel(axes: Axes, group: pd.DataFrame, lines: _Lines, limits: tuple[float, float]) -> None:
    losses = lowest_losses(group, lines.axes)
    for number, (value, color) in enumerate(zip(lines.line_values, lines.colors, strict=True)):
        points = sorted((x, loss) for (x, *line), loss in losses.items() if line in ([], [value]))
        drawn = _draw_line(axes, np.array(points, dtype=float).reshape(-1, 2), number, color, limits)
        drawn.set_label(format_value(value))
    chosen = dict(tuned_setting(group) or ())
    tuned: tuple[Any, ...] = tuple(chosen.get(name) for name in lines.axes)
    if math.isfinite(losses.get(tuned, math.inf)):
        ring = axes.plot([tuned[0]], [losses[tuned]], linestyle="none", marker="o", markersize=9, zorder=4)[0]
        ring.set(markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.1)


def _draw_line(
    axes: Axes, points: np.ndarray, number: int, color: tuple[float, float, float], limits: tuple[float, float]
) -> Line2D:
    """Draw one momentum's line, cut at the top of the panel, and its diverged runs in a separate row above."""
    bottom, top = limits
    x, y = points.T
    marker = SERIES_MARKERS[number % len(SERIES_MARKERS)]
    inside = Rectangle((0, bottom), 1, top - bottom, transform=axes.get_yaxis_transform())
    line = axes.plot(x, np.where(np.isinf(y), np.nan, y), color=color, marker=marker, markersize=3.4)[0]
    line.set(linewidth=1.1, clip_path=inside)
    beyond, gone = np.isfinite(y) & (y > top), np.isinf(y)
    row = top + _strip(top - bottom) * (number + 1)
    for chosen, height, sign in ((beyond, top, "^"), (gone, row, "x")):
        if chosen.any():
            heights = np.full(chosen.sum(), height)
            axes.plot(x[chosen], heights, linestyle="none", marker=sign, markersize=3.4, color=color)
    return line


def _diverged_strip(axes: Axes, bottom: float, top: float, lines: int, *, first: bool) -> None:
    """Set apart the rows of crosses above the panel, where the loss axis means nothing."""
    step = _strip(top - bottom)
    axes.set_ylim(bottom, top + step * (lines + 1))
    axes.axhspan(top + step / 2, top + step * (lines + 1), color=STRIP, linewidth=0, zorder=1.5)
    axes.set_yticks([tick for tick in MaxNLocator(4).tick_values(bottom, top) if bottom <= tick <= top])
    if first:
        words = axes.text(-0.04, top + step * (lines + 1.5) / 2, "div.", fontsize=7, ha="right", va="center")
        words.set(transform=axes.get_yaxis_transform(), in_layout=False)


def _strip(height: float) -> float:
    """Height of one line's row among the crosses above the panel."""
    return 0.045 * height
