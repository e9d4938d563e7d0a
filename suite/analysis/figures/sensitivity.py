"""Sensitivity to tuning: final loss against learning rate, a line per momentum, a panel per batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from suite.analysis.figures.layout import at_left, label_bottoms, panel_grid, panel_title
from suite.analysis.figures.palette import SERIES_MARKERS, optimizer_style, shades
from suite.analysis.figures.scales import decade_axis
from suite.analysis.figures.style import INK, Captioned, explain, scaled
from suite.analysis.tuned import choosing, lowest_losses, tuned_setting
from suite.analysis.words import format_value, optimizer_title, setting_title
from suite.records.tuning import axes_of, is_ordered, setting_of_axis

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


def sensitivity_figure(runs: pd.DataFrame, labels: Sequence[str], *, loss: str = "final loss") -> Figure | None:
    """Final loss against learning rate for every optimizer (rows) and batch size (columns).

    Losses are those on the seeds that chose. A ring marks the tuned point, a triangle at the upper border a loss
    beyond the panel, a cross a diverged run.

    Args:
        runs: runs of one task.
        labels: optimizers in the order of their colours; those without a learning rate to vary are left out.
        loss: what the final loss is called.

    Returns:
        The figure; None where no optimizer varies a number.
    """
    runs = choosing(runs)
    by_label = {label: runs[runs["optimizer"] == label] for label in labels}
    drawn = {label: lines for label in labels if (lines := _lines(by_label[label], label, labels)) is not None}
    sizes = sorted(runs["batch_size"].unique())
    if not drawn:
        return None
    figure, panels = panel_grid(len(sizes), height=11.5, narrowest=9.5, rows=len(drawn), sharey=True)
    bottom, top = _limits(runs)
    any_gone = bool(np.isinf(runs["loss"]).any())
    for row, (label, lines) in zip(panels, drawn.items(), strict=True):
        for axes, size in zip(row, sizes, strict=True):
            group = by_label[label]
            _panel(axes, group[group["batch_size"] == size], lines, (bottom, top))
            axes.set_xscale("log")
            decade_axis(axes.xaxis, lines.x_values, most=3)
            axes.set_xlim(min(lines.x_values) / 1.6, max(lines.x_values) * 1.6)
            _limit(axes, bottom, top, len(lines.line_values) if any_gone else 0)
            panel_title(axes, label, size)
            if at_left(axes):
                axes.set_ylabel(loss)
    names = list(dict.fromkeys(lines.x_name for lines in drawn.values()))
    for row, lines in zip(panels, drawn.values(), strict=True):
        label_bottoms(panels.flat if len(names) == 1 else row, setting_title(lines.x_name))
    explain(panels[0, 0], "Ring: tuned point.")
    others = {name for label, lines in drawn.items() for name in _further(by_label[label], lines)}
    if others:
        explain(panels[0, 0], f"Further settings ({', '.join(sorted(map(setting_title, others)))}) are at their best.")
    _legend(figure, drawn)
    return figure


def _further(runs: pd.DataFrame, lines: _Lines) -> list[str]:
    """Settings of the runs that vary and are no axis of a panel."""
    return [name for name in _varied(runs) if name not in lines.axes]


def _varied(runs: pd.DataFrame) -> list[str]:
    return [name for name, values in axes_of(dict.fromkeys(runs["setting"])) if len(values) > 1]


def _legend(figure: Captioned, drawn: Mapping[str, _Lines]) -> None:
    """The lines of every optimizer, at the right of all panels."""
    handles = []
    for label, lines in drawn.items():
        if lines.line_name is None:
            continue
        head = f"{optimizer_title(label)}:\n{setting_title(lines.line_name)}" if len(drawn) > 1 else None
        handles.append(Line2D([], [], linestyle="none", label=head or setting_title(lines.line_name)))
        for number, (value, color) in enumerate(zip(lines.line_values, lines.colors, strict=True)):
            marker = SERIES_MARKERS[number % len(SERIES_MARKERS)]
            looks: dict[str, Any] = {"color": color, "marker": marker, "markersize": scaled(3.4)}
            handles.append(Line2D([], [], linewidth=scaled(1.1), label=format_value(value), **looks))
    if handles:
        looks = {"fontsize": scaled(7.5), "handlelength": 1.6, "labelspacing": 0.3, "borderaxespad": 0.2}
        figure.legend(handles=handles, loc="outside right upper", **looks)


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
    rest = sorted((name for name in axes if name != x_name), key=lambda name: setting_of_axis(name) not in _MOMENTA)
    return x_name, rest[0] if rest else None


def momentum_axes(runs: pd.DataFrame) -> tuple[str, str] | None:
    """The later and the earlier of the first two momenta that vary (``beta2`` and ``beta1``), or None."""
    axes = _numeric_axes(runs)
    names = sorted(
        (name for name in axes if setting_of_axis(name) in _MOMENTA),
        key=lambda name: _MOMENTA.index(setting_of_axis(name)),
    )
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
        ring = axes.plot([tuned[0]], [losses[tuned]], linestyle="none", marker="o", markersize=scaled(8.5), zorder=4)[0]
        ring.set(markerfacecolor="none", markeredgecolor=INK, markeredgewidth=scaled(1.1))


def _draw_line(
    axes: Axes, points: np.ndarray, number: int, color: tuple[float, float, float], limits: tuple[float, float]
) -> Line2D:
    """Draw one momentum's line, cut at the top of the panel, and its diverged runs in a separate row above."""
    bottom, top = limits
    x, y = points.T
    marker = SERIES_MARKERS[number % len(SERIES_MARKERS)]
    inside = Rectangle((0, bottom), 1, top - bottom, transform=axes.get_yaxis_transform())
    line = axes.plot(x, np.where(np.isinf(y), np.nan, y), color=color, marker=marker, markersize=scaled(3.2))[0]
    line.set(linewidth=scaled(1.1), clip_path=inside)
    beyond, gone = np.isfinite(y) & (y > top), np.isinf(y)
    row = top + _strip(top - bottom) * (number + 1)
    for chosen, height, sign, words in (
        (beyond, top, "^", "Triangles: losses beyond the panel."),
        (gone, row, "x", "Crosses above it: diverged runs."),
    ):
        if chosen.any():
            heights = np.full(chosen.sum(), height)
            axes.plot(x[chosen], heights, linestyle="none", marker=sign, markersize=scaled(3.2), color=color)
            explain(axes, words)
    return line


def _limit(axes: Axes, bottom: float, top: float, lines: int) -> None:
    """Set the loss axis, and apart the rows of crosses above the panel, where the loss means nothing."""
    step = _strip(top - bottom)
    axes.set_ylim(bottom, top + step * (lines + 1))
    axes.set_yticks([tick for tick in MaxNLocator(4).tick_values(bottom, top) if bottom <= tick <= top])
    if not lines:
        return
    axes.axhspan(top + step / 2, top + step * (lines + 1), color=STRIP, linewidth=0, zorder=1.5)
    if at_left(axes):
        words = axes.text(-0.06, top + step * (lines + 1.5) / 2, "div.", ha="right", va="center")
        words.set(transform=axes.get_yaxis_transform(), fontsize=scaled(7), in_layout=False)


def _strip(height: float) -> float:
    """Height of one line's row among the crosses above the panel."""
    return 0.045 * height
