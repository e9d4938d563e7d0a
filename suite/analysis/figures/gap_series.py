"""Gaps as points with bars, a weighted line with its band through them, and tooltips: what every gap figure shares."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from suite.analysis.crossover import trend
from suite.analysis.figures.marks import beside, intervals, note, plot_points, side_offsets, tip
from suite.analysis.figures.scales import signed_axis
from suite.analysis.figures.style import FAINT, explain, scaled
from suite.analysis.gap import on_edge
from suite.analysis.verdict import LEVEL
from suite.analysis.words import format_setting, optimizer_title

DASHES = (0, (4, 2.5))
_ROOM = 0.14
"""Share of a panel's height above and below all data, where the directions are named."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GapSeries:
    """The gaps of one pair of optimizers, and how they look.

    Attributes:
        rows: of a gap table.
        color: colour of points, bars and line.
        marker: marker of the points.
        relative: whether the relative gap is drawn, else the absolute one.
        name: before the words of a tooltip, on a line of its own; may be empty.
        over: column along x; through anything but batch sizes there is no trend.
    """

    rows: pd.DataFrame
    color: str
    marker: str
    relative: bool = True
    name: str = ""
    over: str = "batch_size"

    @property
    def finite(self) -> pd.DataFrame:
        """The rows with a finite gap."""
        return self.rows[np.isfinite(self.rows[f"{self.prefix}gap"].to_numpy(dtype=float))]

    @property
    def prefix(self) -> str:
        """Of the columns that are drawn."""
        return "relative_" if self.relative else ""

    def columns(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places along x, gaps and half intervals (NaN where not known) of some rows."""
        places, gaps, bars = (
            rows[name].to_numpy(dtype=float) for name in (self.over, f"{self.prefix}gap", f"{self.prefix}uncertainty")
        )
        return places, gaps, bars


def draw_gaps(axes: Axes, series: Sequence[GapSeries], more: Sequence[float] = ()) -> None:
    """Draw series of gaps over batch size, with limits that hold zero, every bar and every trend.

    Where it can be believed (`suite.analysis.crossover.trend`), a weighted line in log2 of the batch size goes through
    a series, with its band. An infinite gap is an arrow at the border.

    Args:
        axes: with its axis of batch sizes.
        series: what to draw.
        more: further values that the limits must hold.
    """
    gap_limits(axes, series, more)
    spans = []
    for one in series:
        sizes, gaps, bars = one.columns(one.finite)
        half = np.nan_to_num(bars)
        spans.append({size: (gap - bar, gap + bar) for size, gap, bar in zip(sizes, gaps, half, strict=True)})
    offsets = side_offsets(axes, spans)
    for one, moved in zip(series, offsets, strict=True):
        _draw_trend(axes, one)
        _draw_points(axes, one, moved)
        _draw_infinite(axes, one)


def gap_limits(axes: Axes, series: Sequence[GapSeries], more: Sequence[float] = ()) -> None:
    """Set the y-axis of a gap: its scale, and limits with room to name the directions above and below all data."""
    low, high, values = 0.0, 0.0, []
    for one in series:
        _, gaps, bars = one.columns(one.finite)
        half = np.nan_to_num(bars)
        fitted = _band(one)
        low = min([low, *(gaps - half), *([] if fitted is None else fitted[2])])
        high = max([high, *(gaps + half), *([] if fitted is None else fitted[3])])
        values += list(gaps)
    low, high = min([low, *more]), max([high, *more])
    if low == high:
        low, high = -1.0, 1.0
    signed_axis(axes, [*values, *more])
    # At least a sixth of the height on each side of zero, so that both directions are seen.
    low, high = min(low, -high / 5), max(high, -low / 5)
    transform = axes.yaxis.get_transform()
    bottom, top = transform.transform([low, high])
    room = _ROOM / (1 - 2 * _ROOM) * (top - bottom)
    axes.set_ylim(*transform.inverted().transform([bottom - room, top + room]))


def _band(series: GapSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Batch sizes, the weighted line there, and its interval's ends; None where there is no line."""
    rows = series.finite
    fitted = trend(rows, relative=series.relative) if series.over == "batch_size" else None
    if fitted is None:
        return None
    sizes = rows["batch_size"].to_numpy(dtype=float)
    at = np.geomspace(sizes.min(), sizes.max())
    half = fitted.half_width(at, LEVEL)
    return at, fitted(at), fitted(at) - half, fitted(at) + half


def _draw_trend(axes: Axes, series: GapSeries) -> None:
    fitted = _band(series)
    if fitted is None:
        return
    at, line, low, high = fitted
    axes.fill_between(at, low, high, color=series.color, alpha=0.13, linewidth=0, zorder=1.2)
    axes.plot(at, line, linestyle=DASHES, linewidth=scaled(1), color=series.color, alpha=0.85, zorder=1.8)
    explain(axes, "Dashed: weighted line in log2 of the batch size, with its 95% band.")


def _draw_points(axes: Axes, series: GapSeries, moved: dict[float, float]) -> None:
    rows = series.finite
    sizes, gaps, bars = series.columns(rows)
    is_open = on_edge(rows)
    for number, (_, row) in enumerate(rows.iterrows()):
        one = slice(number, number + 1)
        shifted = beside(axes, moved.get(sizes[number], 0.0))
        intervals(axes, sizes[one], gaps[one], bars[one], series.color, moved=shifted)
        looks = {"marker": series.marker, "transform": shifted}
        plot_points(axes, sizes[one], gaps[one], is_open[one], series.color, **looks)
        tip(axes, sizes[number], gaps[number], "\n".join(filter(None, [series.name, gap_tip(row)])), shifted)


def _draw_infinite(axes: Axes, series: GapSeries) -> None:
    """Arrows at the border where every setting of one optimizer diverged."""
    low, high = axes.get_ylim()
    transform = axes.yaxis.get_transform()
    bottom, top = transform.transform([low, high])
    for _, row in series.rows.iterrows():
        gap = float(row[f"{series.prefix}gap"])
        if not math.isinf(gap):
            continue
        loser = optimizer_title(row["reference"] if gap > 0 else row["challenger"])
        share = (0.72, 0.88) if gap > 0 else (0.28, 0.12)
        start, end = transform.inverted().transform([bottom + part * (top - bottom) for part in share])
        looks = {"arrowstyle": "-|>", "color": series.color, "linewidth": scaled(1.1), "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=(row[series.over], end), xytext=(row[series.over], start), arrowprops=looks)
        looks = {"rotation": 90, "ha": "left", "va": "top" if gap > 0 else "bottom", "fontsize": scaled(7)}
        looks["bbox"] = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5}
        note(axes, f"{loser} diverged", (row[series.over], end), (3, 0), color=FAINT, **looks)
        tip(axes, row[series.over], end, "\n".join(filter(None, [series.name, gap_tip(row)])))
        explain(axes, "Arrows: every setting of one optimizer diverged.")


def gap_tip(row: pd.Series) -> str:
    """A gap and the settings behind it, in the words of a tooltip."""
    sides = [
        f"{optimizer_title(row[role])} {row[f'{role}_loss']:.4f} ({format_setting(row[f'{role}_setting'])})"
        for role in ("reference", "challenger")
    ]
    bar = "" if math.isnan(row["uncertainty"]) else f" +/- {row['uncertainty']:.4f}"
    share = "" if math.isnan(row["relative_gap"]) else f" ({row['relative_gap']:+.2f}%)"
    return "\n".join([f"batch size {row['batch_size']}: gap {row['gap']:+.4f}{bar}{share}", *sides])
