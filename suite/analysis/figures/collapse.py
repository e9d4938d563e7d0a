"""The gaps of several budgets over the batch size, and over the number of steps: on which they lie on one curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.collapse import Collapse
from suite.analysis.figures.gap import name_sides
from suite.analysis.figures.gap_series import gap_tip
from suite.analysis.figures.layout import (
    at_left,
    label_bottoms,
    legend_above,
    legend_entries,
    panel_grid,
    same_limits,
)
from suite.analysis.figures.marks import MARKER, intervals, tip
from suite.analysis.figures.palette import series_style
from suite.analysis.figures.scales import batch_size_axis, log_axis, zero_line
from suite.analysis.figures.style import scaled
from suite.analysis.words import count_text, pair_text

_BEYOND = 1.4
"""Ratio by which the axis of steps goes on beyond the points."""


def collapse_figure(collapsed: Sequence[Collapse]) -> Figure | None:
    """Two panels for every family and pair of optimizers: the relative gap over batch size, and over steps.

    Args:
        collapsed: see `suite.analysis.collapse.collapses`.

    Returns:
        The figure; None without any.
    """
    if not collapsed:
        return None
    figure, panels = panel_grid(2, height=17, narrowest=12, rows=len(collapsed))
    families = {one.family.name for one in collapsed}
    pairs = {(one.reference, one.challenger) for one in collapsed}
    for row, one in zip(panels, collapsed, strict=True):
        words = [one.family.name] * (len(families) > 1) + [pair_text(one.reference, one.challenger)] * (len(pairs) > 1)
        for axes, over in zip(row, ("batch_size", "steps"), strict=True):
            _draw(axes, one, over)
            if words:
                axes.set_title(", ".join(words))
            if at_left(axes):
                axes.set_ylabel("relative gap (%)")
        low, high = same_limits(list(row))
        for axes in row:
            axes.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
            name_sides(axes, one.gaps, ())
    label_bottoms(panels[:, 0], "batch size")
    label_bottoms(panels[:, 1], "number of steps")
    legend_above(figure, *legend_entries(panels.flat))
    return figure


def _draw(axes: Axes, one: Collapse, over: str) -> None:
    if over == "batch_size":
        batch_size_axis(axes, one.gaps["batch_size"])
        axes.set_xlabel("")
    else:
        axes.set_xscale("log")
        low, high = one.gaps["steps"].min() / _BEYOND, one.gaps["steps"].max() * _BEYOND
        axes.set_xlim(low, high)
        log_axis(axes.xaxis, low, high, count_text)
    for number, (budget, rows) in enumerate(one.gaps.groupby("budget")):
        _series(axes, rows.sort_values(over), over, f"{count_text(float(str(budget)))} {one.family.unit}", number)
    zero_line(axes)


def _series(axes: Axes, rows: pd.DataFrame, over: str, name: str, number: int) -> None:
    looks = series_style(number)
    x, y, bars = (rows[column].to_numpy(dtype=float) for column in (over, "relative_gap", "relative_uncertainty"))
    axes.plot(x, y, color=looks["color"], linewidth=scaled(0.9), alpha=0.5, zorder=2)
    axes.plot(x, y, linestyle="none", markersize=scaled(MARKER), label=name, zorder=3, **looks)
    intervals(axes, x, y, np.nan_to_num(bars), looks["color"])
    for _, row in rows.iterrows():
        tip(axes, row[over], row["relative_gap"], f"{name}, {count_text(row['steps'])} steps\n{gap_tip(row)}")
