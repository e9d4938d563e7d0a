"""What was measured inside the tuned runs against the gap: a panel per measure, a line per task."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from suite.analysis.figures.layout import at_left, legend_above, legend_entries, panel_ems, panel_grid
from suite.analysis.figures.marks import tip
from suite.analysis.figures.palette import series_style
from suite.analysis.figures.scales import decade_axis, fixed_ticks, zero_line
from suite.analysis.figures.style import FAINT, explain, scaled
from suite.analysis.gap import SERIES
from suite.analysis.rank_correlation import RankCorrelation
from suite.analysis.why import CORRELATED
from suite.analysis.words import series_names

LINEAR_BELOW = 1.0
"""Gap in percent below which the axis is linear: gaps of tasks span two decades and both signs."""


def why_figure(table: pd.DataFrame, with_gap: Mapping[str, RankCorrelation]) -> Figure | None:
    """Relative gap against each measure, the batch sizes of a task joined in order.

    Larger points are larger batch sizes; a gap without a winner at 95% is a hollow point.

    Args:
        table: see `suite.analysis.why.Why`.
        with_gap: correlations inside tasks, by column.

    Returns:
        The figure; None where nothing was measured.
    """
    gaps = table["relative_gap"].notna()
    finite = {name: np.isfinite(table[name].to_numpy(dtype=float)) & gaps for name in CORRELATED}
    shown = [name for name in CORRELATED if bool(finite[name].any())]
    if not shown:
        return None
    figure, (panels,) = panel_grid(len(shown), height=15, narrowest=13, sharey=True)
    keys = list(table.groupby(SERIES, sort=False).groups)
    names = [name or str(key[0]) for name, key in zip(series_names(keys), keys, strict=True)]
    for axes, name in zip(panels, shown, strict=True):
        for key, rows in table[finite[name]].groupby(SERIES, sort=False):
            number = keys.index(key)
            _series(axes, rows.sort_values("batch_size"), name, names[number], number)
        _frame(axes, name, table.loc[finite[name], name].to_numpy(dtype=float))
        if name in with_gap and not math.isnan(with_gap[name].rho):
            words = f"inside tasks: rho {with_gap[name].rho:+z.2f}, p {with_gap[name].p:.2g}"
            axes.set_title(words, color=FAINT, fontsize=scaled(7))
        if at_left(axes):
            axes.set_ylabel("relative gap (%)")
    _gap_axis(panels[0], table["relative_gap"].to_numpy(dtype=float))
    explain(panels[0], "Larger points: larger batch sizes, joined in their order.")
    legend_above(figure, *legend_entries(panels))
    return figure


def _series(axes: Axes, rows: pd.DataFrame, name: str, label: str, number: int) -> None:
    color, marker = series_style(number).values()
    axes.plot(rows[name], rows["relative_gap"], color=color, linewidth=scaled(0.9), alpha=0.7)
    axes.plot([], [], color=color, marker=marker, linewidth=scaled(0.9), label=label)
    for row in rows.itertuples(index=False):
        value, gap = float(getattr(row, name)), float(row.relative_gap)  # type: ignore[arg-type]
        resolved = isinstance(row.better, str) and bool(row.better)
        axes.plot(
            [value],
            [gap],
            color=color,
            marker=marker,
            markersize=scaled(2.6 + 0.5 * math.log2(row.batch_size)),  # type: ignore[arg-type]
            markerfacecolor=color if resolved else "white",
            clip_on=False,
            zorder=3,
        )
        if not resolved:
            explain(axes, "Open points: nobody is better at 95%.")
        measure = f"{CORRELATED[name][0]} {value:.3g}"
        tip(axes, value, gap, f"{label}\nbatch size {row.batch_size}\n{measure}\ngap {gap:+.2f}%")


def _frame(axes: Axes, name: str, values: np.ndarray) -> None:
    words, logarithmic = CORRELATED[name]
    low, high = float(values.min()), float(values.max())
    if logarithmic and low > 0:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.6, high * 1.6)
        decade_axis(axes.xaxis, (low, high))
    else:
        room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(3))
    zero_line(axes)
    axes.set_xlabel("\n".join(textwrap.wrap(words, int(1.8 * panel_ems(axes)))))


def _gap_axis(axes: Axes, gaps: np.ndarray) -> None:
    reach = float(np.abs(gaps[np.isfinite(gaps)]).max(initial=LINEAR_BELOW))
    tens = [10.0**power for power in range(math.floor(math.log10(reach)) + 1)]
    low, high = float(np.nanmin(gaps)), float(np.nanmax(gaps))
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
    axes.set_ylim(min(1.6 * low, -LINEAR_BELOW), max(1.6 * high, LINEAR_BELOW))
    ticks = [*(-ten for ten in reversed(tens)), 0.0, *tens]
    fixed_ticks(axes.yaxis, ticks, lambda value: f"{value:+.0f}" if value else "0")
