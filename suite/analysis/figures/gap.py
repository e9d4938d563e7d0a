"""The headline figure: relative and absolute gap against batch size, with the crossover."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.crossover import Crossover
from suite.analysis.figures.gap_series import DASHES, GapSeries, draw_gaps
from suite.analysis.figures.style import (
    FAINT,
    INK,
    WIDTH,
    batch_size_axis,
    beside,
    legend_above,
    note,
    optimizer_style,
    signed_axis,
    tip,
    zero_line,
)
from suite.analysis.words import batch_size_text, optimizer_title


def gap_figure(
    gaps: pd.DataFrame,
    crossovers: Sequence[Crossover],
    labels: Sequence[str],
    published: pd.DataFrame | None = None,
    fit: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Figure:
    """Gap against batch size: relative on the left, absolute on the right.

    Points with bars are the measured gaps and their 95% intervals, as `draw_gaps` draws them; the grey band lies
    between the batch sizes that a claimed crossover is between.

    Args:
        gaps: gap table of one task; several challengers of one reference are drawn together.
        crossovers: of the same pairs.
        labels: optimizers of the sweep, in its order.
        published: see `suite.analysis.published.published_gaps`; those at measured batch sizes are drawn as crosses.
        fit: the theory's gap as a function of the batch size, drawn over the measured range of the absolute gap.

    Raises:
        ValueError: no gap is known.
    """
    if not gaps["gap"].notna().any():
        raise ValueError("Expected at least one batch size with results for both optimizers, got none; run the sweep.")
    figure = Figure(figsize=(WIDTH, 3.1))
    panels = figure.subplots(1, 2)
    reference = optimizer_title(gaps["reference"].iloc[0])
    for axes, relative in zip(panels, (True, False), strict=True):
        batch_size_axis(axes, gaps["batch_size"])
        _draw_pairs(axes, gaps, labels, relative=relative)
        papers = _published(published, gaps, relative=relative)
        _frame(axes, gaps, papers["value"], relative=relative)
        only = crossovers[0] if len(crossovers) == 1 else None
        _name_sides(axes, gaps, only.challenger if only else None, labels, relative=relative)
        if only:
            _mark_crossover(axes, only)
        if len(papers):
            axes.plot(papers["batch_size"], papers["value"], "x", color=FAINT, label="the paper's")
        for row in papers.itertuples(index=False):
            tip(axes, row.batch_size, row.value, f"the paper: {row.value:+.4g}\n{row.source}")
        axes.set_ylabel(_quantity(crossovers) + (f" (% of {reference}'s)" if relative else ""))
    if fit is not None:
        sizes = np.geomspace(gaps["batch_size"].min(), gaps["batch_size"].max(), 200)
        panels[1].plot(sizes, fit(sizes), color=FAINT, linewidth=1.1, linestyle="-.", label="theory's three terms")
        panels[1].legend(loc="best")
    panels[0].set_title("Relative gap")
    panels[1].set_title("Absolute gap")
    if len(crossovers) > 2:
        legend_above(figure, *panels[0].get_legend_handles_labels())
    elif len(crossovers) > 1 or len(papers):
        panels[0].legend(loc="best")
    return figure


def _draw_pairs(axes: Axes, gaps: pd.DataFrame, labels: Sequence[str], *, relative: bool) -> None:
    pairs = list(gaps.groupby(["reference", "challenger"], sort=False))
    for number, ((_, challenger), rows) in enumerate(pairs):
        looks = optimizer_style(str(challenger), labels)
        if len(pairs) == 1:
            # Alone, a gap belongs to neither optimizer: it is drawn in ink, and the colours name the sides of zero.
            looks = {"color": INK, "marker": "o"}
        looks.pop("linestyle", None)
        shift = beside(number, len(pairs))
        draw_gaps(axes, GapSeries(rows=rows, relative=relative, shift=shift, large=True, **looks))
        axes.plot([], [], linestyle=DASHES, linewidth=1, label=optimizer_title(str(challenger)), **looks)


def _published(published: pd.DataFrame | None, gaps: pd.DataFrame, *, relative: bool) -> pd.DataFrame:
    """Published values at measured batch sizes: columns ``batch_size``, ``value`` and ``source``."""
    if published is None:
        return pd.DataFrame({"batch_size": [], "value": [], "source": []})
    column = "published_relative_gap" if relative else "published_gap"
    beside_ours = published["task"].isin(gaps["task"]) & published["batch_size"].isin(gaps["batch_size"])
    return published[beside_ours][["batch_size", column, "source"]].dropna().rename(columns={column: "value"})


def _quantity(crossovers: Sequence[Crossover]) -> str:
    challengers = {crossover.challenger for crossover in crossovers}
    other = optimizer_title(challengers.pop()) if len(challengers) == 1 else "other"
    return f"{optimizer_title(crossovers[0].reference)} \N{MINUS SIGN} {other}, tuned final loss"


def _values_and_bars(gaps: pd.DataFrame, *, relative: bool) -> tuple[np.ndarray, np.ndarray]:
    """The gaps that a panel shows, and their uncertainties, 0 where those are not known."""
    prefix = "relative_" if relative else ""
    bars = np.nan_to_num(gaps[f"{prefix}uncertainty"].to_numpy(dtype=float), nan=0, posinf=0)
    return gaps[f"{prefix}gap"].to_numpy(dtype=float), bars


def _frame(axes: Axes, gaps: pd.DataFrame, published: pd.Series, *, relative: bool) -> None:
    """Set limits that include zero, every bar and every published value; draw infinite gaps as arrows at the border."""
    values, bars = _values_and_bars(gaps, relative=relative)
    finite = np.isfinite(values)
    low = min(0.0, *(values - bars)[finite]) if finite.any() else -1.0
    high = max(0.0, *(values + bars)[finite]) if finite.any() else 1.0
    low, high = min([low, *published]), max([high, *published])
    room = 0.14 * (high - low or 1.0)
    # At least a sixth of the height on each side of zero, where the two directions are named.
    low, high = min(low - room, -(high + room) / 5), max(high + room, -(low - room) / 5)
    signed_axis(axes, values)
    axes.set_ylim(low, high)
    losers = np.where(values > 0, gaps["reference"], gaps["challenger"])
    for size, gap, loser in zip(gaps["batch_size"], values, losers, strict=True):
        if math.isinf(gap):
            end = high if gap > 0 else low
            looks = {"rotation": 90, "ha": "left", "va": "top" if gap > 0 else "bottom", "fontsize": 7}
            note(axes, f"{optimizer_title(loser)} diverged", (size, end), (4, -2 if gap > 0 else 2), **looks)
            axes.annotate(
                "",
                xy=(size, end),
                xytext=(size, end - math.copysign(0.22 * (high - low), gap)),
                arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
            )


def _name_sides(
    axes: Axes, gaps: pd.DataFrame, challenger: str | None, labels: Sequence[str], *, relative: bool
) -> None:
    """Draw zero, and name the two directions on the side where the data leaves room."""
    zero_line(axes)
    values, bars = _values_and_bars(gaps, relative=relative)
    octaves = np.log2(gaps["batch_size"].to_numpy(dtype=float))
    reference = gaps["reference"].iloc[0]
    winner = optimizer_title(challenger) if challenger else "other"
    above = f"{winner} better \N{UPWARDS ARROW}"
    below = f"{optimizer_title(reference)} better \N{DOWNWARDS ARROW}"
    low, high = axes.get_ylim()
    for start, end, label, text, sign in ((0, high, challenger, above, 1), (low, 0, reference, below, -1)):
        color = optimizer_style(label, labels)["color"] if label else FAINT
        axes.axhspan(start, end, color=color, alpha=0.06, linewidth=0, zorder=0)
        gutter = 0.04 * (high - low) * sign
        edge = high if sign > 0 else low
        anchor, height = 0.0, gutter
        if max(_room_at(octaves, np.abs(values - height) - bars)) <= abs(gutter):
            anchor, height = edge, edge - gutter  # no room at the line: at the panel's edge
        left_room, right_room = _room_at(octaves, np.abs(values - height) - bars)
        right = right_room >= left_room
        outwards = height > anchor
        looks = {"ha": "right" if right else "left", "va": "bottom" if outwards else "top", "fontweight": "bold"}
        offset = (-3 if right else 3, 3 if outwards else -3)
        note(axes, text, (int(right), anchor), offset, xycoords=("axes fraction", "data"), color=color, **looks)


def _room_at(octaves: np.ndarray, free: np.ndarray) -> tuple[float, float]:
    """Smallest of the distances ``free`` among the points in the left and in the right two fifths of a panel."""
    share = (octaves - octaves.min() + 1) / (np.ptp(octaves) + 2)
    rooms = [free[near] for near in (share < 0.4, share > 0.6)]
    left, right = (float(np.nanmin(room)) if np.isfinite(room).any() else math.inf for room in rooms)
    return left, right


def _mark_crossover(axes: Axes, crossover: Crossover) -> None:
    if crossover.low is None or crossover.high is None:
        return
    left, right = axes.get_xlim()
    axes.axvspan(crossover.low, crossover.high, color=FAINT, alpha=0.13, linewidth=0, zorder=0.5)
    zero = crossover.line_zero or crossover.interpolated
    if zero is None:
        return
    axes.axvline(zero, color=INK, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=1.4)
    cross = axes.plot([zero], [0], marker="X", markersize=7.5, color=INK, zorder=4)[0]
    cross.set(markeredgecolor="white", clip_on=False)
    # Beside the line, on the side where the panel goes on.
    late = math.log(zero / left) > 0.6 * math.log(right / left)
    size = batch_size_text(zero)
    words = f"crossover \N{ALMOST EQUAL TO} {size}\n({crossover.low} to {crossover.high})"
    looks = {"ha": "right" if late else "left", "va": "top", "xycoords": ("data", "axes fraction")}
    note(axes, words, (zero, 1), (-3 if late else 3, -3), **looks)
