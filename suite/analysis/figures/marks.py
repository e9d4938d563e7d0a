"""Points and their intervals, always seen: caps are wider than markers, what would cover each other stands apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation, Transform

from suite.analysis.figures.style import TIP, explain, scaled

MARKER, CAP, ARROW = 4.6, 3.6, 4.5
"""Sizes of a marker, of half an interval's cap and of its arrowhead, in printer's points at a type size of 9."""

PAPERS = "the paper's, its network and budget"
"""Name of a paper's values in a legend: they are of its scale, whatever ours is."""

_STEP = 6.5
"""Distance of points that stand side by side, likewise."""


def note(axes: Axes, words: str, at: tuple[float, float], offset: tuple[float, float], **looks: Any) -> None:
    """Write words beside a point, at an offset in printer's points; ``looks`` go to `Axes.annotate`."""
    moved = scaled(offset[0]), scaled(offset[1])
    axes.annotate(words, at, moved, textcoords="offset points", **{"fontsize": scaled(8), **looks})


def tip(axes: Axes, x: float, y: float, words: str, moved: Transform | None = None) -> None:
    """Words that a browser shows while the pointer is at a point of the SVG; PNG and PDF are unchanged."""
    looks: dict[str, Any] = {} if moved is None else {"transform": moved}
    marked = axes.plot([x], [y], linestyle="none", marker="o", markersize=scaled(12), alpha=0.0, zorder=6, **looks)[0]
    marked.set_gid(TIP + words.replace("\n", " / "))


def beside(axes: Axes, offset: float) -> Transform:
    """Where a point stands that is moved to the side by an offset in printer's points."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return axes.transData + ScaledTranslation(offset / 72, 0, figure.dpi_scale_trans)


def side_offsets(axes: Axes, series: Sequence[Mapping[float, tuple[float, float]]]) -> list[dict[float, float]]:
    """How far points are moved to the side, in printer's points: those alone whose marks would cover each other.

    Args:
        axes: with their final limits.
        series: for each, the ends of the interval at every x where it has a point.

    Returns:
        For each series the offset at each x.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    per_point = figure.dpi / 72
    reach = 0.6 * scaled(MARKER) * per_point
    offsets: list[dict[float, float]] = [{} for _ in series]
    for x in dict.fromkeys(x for intervals in series for x in intervals):
        ends = {
            number: axes.transData.transform([(x, intervals[x][0]), (x, intervals[x][1])])[:, 1]
            for number, intervals in enumerate(series)
            if x in intervals
        }
        clusters: list[list[int]] = []
        highest = -np.inf
        for number in sorted(ends, key=lambda n: float(ends[n][0])):
            if ends[number][0] - reach > highest + reach or not clusters:
                clusters.append([])
            clusters[-1].append(number)
            highest = max(highest, float(ends[number][1])) if len(clusters[-1]) > 1 else float(ends[number][1])
        for cluster in clusters:
            for order, number in enumerate(sorted(cluster)):
                offsets[number][x] = (order - (len(cluster) - 1) / 2) * _step(axes, series, len(cluster))
    if any(offset for of_series in offsets for offset in of_series.values()):
        explain(axes, "Points that would cover each other stand side by side at their batch size.")
    return offsets


def _step(axes: Axes, series: Sequence[Mapping[float, tuple[float, float]]], count: int) -> float:
    """Distance between points side by side: less where there are many, so that they stay at their batch size."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    places = np.sort([axes.transData.transform((x, 0))[0] for x in {x for intervals in series for x in intervals}])
    nearest = float(np.diff(places).min()) * 72 / figure.dpi if len(places) > 1 else scaled(100)
    return float(min(scaled(_STEP), 0.6 * nearest / count))


def intervals(
    axes: Axes, x: Any, y: Any, bars: Any, color: str, *, moved: Transform | None = None, goes_on: Any = False
) -> None:
    """Draw intervals whose caps are wider than the markers, so that a short one is a line through its point.

    Args:
        axes: the panel.
        x: of the points.
        y: likewise.
        bars: half intervals, or lower and upper parts of shape ``[2, points]``; NaN where not known.
        color: of the bars.
        moved: see `beside`.
        goes_on: whether an interval goes on beyond an end, which is an arrowhead then; of shape ``[2, points]``.
    """
    x, y, bars = (np.asarray(values, dtype=float) for values in (x, y, bars))
    is_known = np.isfinite(bars).reshape(-1, len(x)).all(axis=0)
    if not is_known.any():
        return
    is_open = np.broadcast_to(goes_on, (2, len(x)))[:, is_known]
    x, y, bars = x[is_known], y[is_known], bars[..., is_known]
    looks: dict[str, Any] = {"color": color, "zorder": 3.5} | ({} if moved is None else {"transform": moved})
    axes.errorbar(x, y, yerr=bars, fmt="none", elinewidth=scaled(1.0), **looks)
    lower, upper = np.broadcast_to(bars, (2, len(x)))
    cap: dict[str, Any] = {"marker": "_", "markersize": 2 * scaled(CAP), "markeredgewidth": scaled(1.0)}
    for ends, without, arrow in ((y - lower, is_open[0], "v"), (y + upper, is_open[1], "^")):
        head: dict[str, Any] = {"marker": arrow, "markersize": scaled(ARROW)}
        for chosen, mark in ((~without, cap), (without, head)):
            if chosen.any():
                axes.plot(x[chosen], ends[chosen], linestyle="none", **looks, **mark)
    explain(axes, "Bars: 95% intervals.")
    if is_open.any():
        explain(axes, "Arrows: the interval goes on.")


def plot_points(axes: Axes, x: np.ndarray, y: np.ndarray, is_open: np.ndarray, color: str, **looks: Any) -> None:
    """Draw points, those on the edge of their grid with a white face; ``looks`` go to `Axes.plot`."""
    looks = {"markersize": scaled(MARKER), "markeredgewidth": scaled(1.1), "zorder": 3, **looks}
    for chosen, face in ((~is_open, color), (is_open, "white")):
        if chosen.any():
            axes.plot(x[chosen], y[chosen], linestyle="none", color=color, markerfacecolor=face, **looks)
    if is_open.any():
        explain(axes, "Open points: a tuned point lies on the edge of its grid.")
