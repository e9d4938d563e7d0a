"""How sharp is the tuning? Final loss against learning rate, a line per momentum, a panel per batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from suite.analysis.figures.style import (
    INK,
    SERIES_MARKERS,
    decade_axis,
    optimizer_style,
    panel_grid,
    shades,
)
from suite.analysis.table import format_value, optimizer_title
from suite.analysis.tuned import SettingResult, axes_of, best_setting, setting_results

STRIP = "#f1f1f1"
CUT_QUANTILE = 0.85
"""Losses above this quantile are drawn at the upper border: what matters is the neighbourhood of the best."""
_MOMENTA = ("momentum", "beta", "beta1", "betas", "beta2")


def sensitivity_figure(runs: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Final loss against learning rate for every optimizer (rows) and batch size (columns).

    Losses are those on the seeds that chose. A ring marks the tuned point, a triangle at the upper border a loss
    beyond the panel, a cross a diverged run.

    Args:
        runs: runs of one task.
        labels: optimizers to draw, in order; those without a learning rate to vary are left out.
    """
    runs = runs[~runs["reporting"]]
    drawn = [label for label in labels if line_axes(runs[runs["optimizer"] == label]) is not None]
    sizes = sorted(runs["batch_size"].unique())
    figure, axes, columns = panel_grid(len(sizes), max(len(drawn), 1), height=1.75, sharex=False)
    top = _cut(runs)
    finite = runs.loc[np.isfinite(runs["loss"]), "loss"]
    bottom = finite.min() - 0.08 * (top - finite.min()) if len(finite) else 0.0
    for row, label in enumerate(drawn):
        own = runs[runs["optimizer"] == label]
        x_name, line_name = line_axes(own) or ("lr", None)
        lines = _line_values(own, line_name)
        x_values = axis_values(own, x_name)
        for panel, size in enumerate(sizes):
            place = axes[panel // columns * len(drawn) + row, panel % columns]
            group = own[own["batch_size"] == size]
            _panel(place, group, x_name, line_name, lines, (label, labels), (bottom, top))
            place.set_xscale("log")
            decade_axis(place.xaxis, x_values)
            place.set_xlim(min(x_values) / 1.6, max(x_values) * 1.6)
            _diverged_strip(place, bottom, top, len(lines), first=panel % columns == 0)
            place.set_title(f"{optimizer_title(label)}, batch size {size}", fontsize=7.5)
            place.set_xlabel("learning rate" if x_name == "lr" else x_name)
            if panel % columns == 0:
                place.set_ylabel("final loss")
        if line_name is not None:
            _legend(axes[row, columns - 1], label, labels, line_name, lines)
    return figure


def line_axes(runs: pd.DataFrame) -> tuple[str, str | None] | None:
    """Which axis goes along x and which makes the lines: learning rate first, then a momentum, then the rest.

    Returns:
        Names of the two axes; the second is None with a single axis. None when nothing numeric and positive
        varies.
    """
    found = _numeric_axes(runs)
    x_name = "lr" if "lr" in found else next((name for name, values in found.items() if values[0] > 0), None)
    if x_name is None:
        return None
    rest = sorted((name for name in found if name != x_name), key=lambda name: name not in _MOMENTA)
    return x_name, rest[0] if rest else None


def momentum_axes(runs: pd.DataFrame) -> tuple[str, str] | None:
    """The later and the earlier of the first two momenta that vary (``beta2`` and ``beta1``), or None."""
    found = _numeric_axes(runs)
    names = [name for name in _MOMENTA if name in found]
    return (names[1], names[0]) if len(names) > 1 else None


def _numeric_axes(runs: pd.DataFrame) -> dict[str, list[float]]:
    """The axes of the runs' settings that have several numbers, and a learning rate above zero."""
    return {
        name: values
        for name, values, numbers in axes_of(list(dict.fromkeys(runs["setting"])))
        if numbers and len(values) > 1 and (name != "lr" or values[0] > 0)
    }


def _line_values(runs: pd.DataFrame, line_name: str | None) -> list[float | None]:
    if line_name is None:
        return [None]
    return [*axis_values(runs, line_name)]


def axis_values(runs: pd.DataFrame, name: str) -> list[float]:
    """The values that an axis of the runs' settings has, ascending."""
    return sorted({value for setting in set(runs["setting"]) for axis, value in setting if axis == name})


def _cut(runs: pd.DataFrame) -> float:
    finite = runs.loc[np.isfinite(runs["loss"]), "loss"]
    if finite.empty:
        return 1.0
    top = float(finite.quantile(CUT_QUANTILE))
    best = finite.min()
    # Every tuned point must be inside, whatever the quantile says.
    tuned = runs[np.isfinite(runs["loss"])].groupby(["optimizer", "batch_size"])["loss"].min().max()
    return max(top, float(tuned) + 0.25 * float(tuned - best), best + 1e-6)


def _panel(
    axes: Axes,
    group: pd.DataFrame,
    x_name: str,
    line_name: str | None,
    lines: Sequence[float | None],
    optimizer: tuple[str, Sequence[str]],
    limits: tuple[float, float],
) -> None:
    results = setting_results(group)
    losses = _best_losses(results, x_name, line_name)
    colors = shades(optimizer_style(*optimizer)["color"], len(lines))
    for place, (line, color) in enumerate(zip(lines, colors, strict=True)):
        points = sorted((x, loss) for (x, own), loss in losses.items() if own == line)
        if points:
            _draw_line(axes, np.array(points, dtype=float), place, color, limits)
    if losses:
        tuned = best_setting(results)
        spot = _place(tuned, x_name, line_name)
        if spot in losses and math.isfinite(tuned.loss):
            ring = axes.plot([spot[0]], [losses[spot]], linestyle="none", marker="o", markersize=9, zorder=4)[0]
            ring.set(markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.1)


def _best_losses(results: Sequence[SettingResult], x_name: str, line_name: str | None) -> dict[tuple[Any, Any], float]:
    """Loss at every (x, line), with any further axes at their best."""
    losses: dict[tuple[Any, Any], float] = {}
    for result in results:
        x, line = _place(result, x_name, line_name)
        if x is not None and (line_name is None or line is not None):
            losses[x, line] = min(result.loss, losses.get((x, line), math.inf))
    return losses


def _place(result: SettingResult, x_name: str, line_name: str | None) -> tuple[Any, Any]:
    """Where a setting lies along x and which line it is on; None for an axis that it does not have."""
    chosen = dict(result.setting)
    return chosen.get(x_name), None if line_name is None else chosen.get(line_name)


def _draw_line(
    axes: Axes, points: np.ndarray, place: int, color: tuple[float, float, float], limits: tuple[float, float]
) -> None:
    """One momentum's line, cut at the top of the panel, and its diverged runs in a row of their own above."""
    bottom, top = limits
    x, y = points.T
    marker = SERIES_MARKERS[place % len(SERIES_MARKERS)]
    inside = Rectangle((0, bottom), 1, top - bottom, transform=axes.get_yaxis_transform())
    drawn = axes.plot(x, np.where(np.isinf(y), np.nan, y), color=color, marker=marker, markersize=3.4)[0]
    drawn.set(linewidth=1.1, clip_path=inside)
    beyond, gone = np.isfinite(y) & (y > top), np.isinf(y)
    row = top + _strip(top - bottom) * (place + 1)
    for chosen, height, sign in ((beyond, top, "^"), (gone, row, "x")):
        if chosen.any():
            heights = np.full(chosen.sum(), height)
            axes.plot(x[chosen], heights, linestyle="none", marker=sign, markersize=3.4, color=color)


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


def _legend(axes: Axes, label: str, labels: Sequence[str], line_name: str, lines: Sequence[float | None]) -> None:
    colors = shades(optimizer_style(label, labels)["color"], len(lines))
    for place, (line, color) in enumerate(zip(lines, colors, strict=True)):
        marker = SERIES_MARKERS[place % len(SERIES_MARKERS)]
        axes.plot([], [], color=color, marker=marker, markersize=3.6, linewidth=1.1, label=format_value(line))
    axes.legend(
        title=line_name,
        title_fontsize=7,
        fontsize=7,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.03),
        borderaxespad=0.2,
        handlelength=1.6,
        labelspacing=0.3,
    )
