"""One pair's gaps as points with bars, a dashed line through them, and tooltips: a series of every gap figure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from suite.analysis.crossover import trend
from suite.analysis.figures.style import plot_points, tip
from suite.analysis.gap import on_edge
from suite.analysis.words import format_setting, optimizer_title

DASHES = (0, (4, 2.5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GapSeries:
    """The gaps of one pair of optimizers, and how they look.

    Attributes:
        rows: of a gap table; infinite gaps are left out.
        color: colour of points, bars and line.
        marker: marker of the points.
        relative: whether the relative gap is drawn, else the absolute one.
        shift: octaves between the points and their batch size, which tells those of several series apart.
        name: before the words of a tooltip, on a line of its own; may be empty.
        large: whether points and bars are those of a figure with few of them.
    """

    rows: pd.DataFrame
    color: str
    marker: str
    relative: bool = True
    shift: float = 0.0
    name: str = ""
    large: bool = False


def draw_gaps(axes: Axes, series: GapSeries) -> None:
    """Draw one series; a point is open where a tuned point lies on the edge of its grid.

    Dashed is the weighted line in log2 of the batch size, one octave past the data on each side, where it can be
    believed (`suite.analysis.crossover.trend`).
    """
    prefix = "relative_" if series.relative else ""
    rows = series.rows[np.isfinite(series.rows[f"{prefix}gap"].to_numpy(dtype=float))]
    sizes, gaps, bars = (rows[name].to_numpy(float) for name in ("batch_size", f"{prefix}gap", f"{prefix}uncertainty"))
    fitted = trend(rows, relative=series.relative)
    if fitted is not None:
        at = np.geomspace(sizes[0] / 2, sizes[-1] * 2)
        line: dict[str, Any] = {"linestyle": DASHES, "linewidth": 1, "alpha": 0.75}
        axes.plot(at, fitted(at), color=series.color, **line)
    sizes = sizes * 2**series.shift
    bar_width, cap, marker, border = (1, 2.5, 6.5, 1.4) if series.large else (0.9, 2, 5, 1)
    looks: dict[str, Any] = {"fmt": "none", "ecolor": series.color, "elinewidth": bar_width, "capsize": cap}
    axes.errorbar(sizes, gaps, yerr=np.nan_to_num(bars), **looks)
    looks = {"marker": series.marker, "markersize": marker, "markeredgewidth": border}
    plot_points(axes, sizes, gaps, on_edge(rows), series.color, **looks)
    for size, gap, (_, row) in zip(sizes, gaps, rows.iterrows(), strict=True):
        tip(axes, size, gap, "\n".join(filter(None, [series.name, gap_tip(row)])))


def gap_tip(row: pd.Series) -> str:
    """A gap and the settings behind it, in the words of a tooltip."""
    sides = [
        f"{optimizer_title(row[role])} {row[f'{role}_loss']:.4f} ({format_setting(row[f'{role}_setting'])})"
        for role in ("reference", "challenger")
    ]
    gap = f"gap {row['gap']:+.4f} +/- {row['uncertainty']:.4f} ({row['relative_gap']:+.2f}%)"
    return "\n".join([f"batch size {row['batch_size']}: {gap}", *sides])
