"""The headline figure: relative and absolute gap against batch size, with the crossover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.crossover import Crossover, trend
from suite.analysis.figures.gap_series import DASHES, GapSeries, draw_gaps
from suite.analysis.figures.layout import legend_above, legend_entries, panel_ems
from suite.analysis.figures.marks import PAPERS, tip
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import batch_size_axis, zero_line
from suite.analysis.figures.style import FAINT, INK, Captioned, em, explain, look, scaled
from suite.analysis.verdict import LEVEL
from suite.analysis.words import batch_size_text, interval_text, optimizer_title

_TWO_PANELS = 38
"""Ems of width from which the absolute gap stands beside the relative one."""


def gap_figure(
    gaps: pd.DataFrame,
    crossovers: Sequence[Crossover],
    labels: Sequence[str],
    published: pd.DataFrame | None = None,
    fit: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Figure:
    """Gap against batch size: relative, and where there is room for two panels, or no relative gap, absolute.

    Points with bars are the measured gaps and their 95% intervals, as `draw_gaps` draws them; the grey band lies
    between the batch sizes that a claimed crossover is between.

    Args:
        gaps: gap table of one task; several challengers of one reference are drawn together.
        crossovers: of the same pairs.
        labels: optimizers in the order of their colours.
        published: see `suite.analysis.published.published_gaps`; those at measured batch sizes are drawn as crosses.
        fit: the theory's gap as a function of the batch size, drawn over the measured range of the absolute gap.

    Raises:
        ValueError: no gap is known.
    """
    if not gaps["gap"].notna().any():
        raise ValueError("Expected at least one batch size with results for both optimizers, got none; run the sweep.")
    kinds = [True, False] if gaps["relative_gap"].notna().any() else [False]
    if look().width / em() < _TWO_PANELS:
        kinds = kinds[:1]
    figure = Captioned(22, width=None if len(kinds) > 1 else min(34, look().width / em()))
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, relative in zip(panels, kinds, strict=True):
        _panel(axes, gaps, crossovers, labels, published, relative=relative)
        if fit is not None and not relative:
            sizes = np.geomspace(gaps["batch_size"].min(), gaps["batch_size"].max(), 200)
            looks: dict[str, Any] = {"color": FAINT, "linewidth": scaled(1.1), "linestyle": "-.", "zorder": 1.7}
            axes.plot(sizes, fit(sizes), label="theory's three terms, fitted", **looks)
            explain(axes, "Dash-dotted: the theory's three terms, fitted.")
    handles, names = legend_entries(panels)
    if len(names) > 1:
        legend_above(figure, handles, names)
    return figure


def _panel(
    axes: Axes,
    gaps: pd.DataFrame,
    crossovers: Sequence[Crossover],
    labels: Sequence[str],
    published: pd.DataFrame | None,
    *,
    relative: bool,
) -> None:
    batch_size_axis(axes, gaps["batch_size"])
    papers = _published(published, gaps, relative=relative)
    series = []
    pairs = list(gaps.groupby(["reference", "challenger"], sort=False))
    for (_, challenger), rows in pairs:
        looks = optimizer_style(str(challenger), labels)
        if len(pairs) == 1:
            # Alone, a gap belongs to neither optimizer: it is drawn in ink, and the colours name the sides of zero.
            looks = {"color": INK, "marker": "o"}
        looks.pop("linestyle", None)
        title = optimizer_title(str(challenger))
        series.append(GapSeries(rows=rows, relative=relative, name=title if len(pairs) > 1 else "", **looks))
        axes.plot([], [], linestyle="none", label=title if len(pairs) > 1 else "measured", **looks)
        if len(pairs) == 1 and trend(rows, relative=relative) is not None:
            axes.plot([], [], linestyle=DASHES, linewidth=scaled(1), color=INK, label="weighted line, 95% band")
    draw_gaps(axes, series, list(papers["value"]))
    zero_line(axes)
    name_sides(axes, gaps, labels)
    if len(crossovers) == 1:
        _mark_crossover(axes, crossovers[0])
    if len(papers):
        axes.plot(papers["batch_size"], papers["value"], "x", color=FAINT, label=PAPERS, zorder=3)
        explain(axes, "Crosses: values that the paper prints.")
    for row in papers.itertuples(index=False):
        tip(axes, row.batch_size, row.value, f"the paper: {row.value:+.4g}\n{row.source}")
    quantity = _quantity(crossovers)
    axes.set_ylabel(f"relative gap (% of {_reference(gaps)}'s loss)" if relative else f"{quantity}, tuned loss")


def _reference(gaps: pd.DataFrame) -> str:
    references = list(gaps["reference"].drop_duplicates())
    return optimizer_title(references[0]) if len(references) == 1 else "the reference"


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
    return f"{optimizer_title(crossovers[0].reference)} \N{MINUS SIGN} {other}"


def name_sides(axes: Axes, gaps: pd.DataFrame, labels: Sequence[str]) -> None:
    """Name the two directions in the strips above and below all data: bold where a verdict of the panel supports it.

    Args:
        axes: with limits as `suite.analysis.figures.gap_series.gap_limits` sets them.
        gaps: the gaps that are drawn.
        labels: optimizers in the order of their colours.
    """
    low, high = axes.get_ylim()
    sides = ((0, high, "challenger", "\N{UPWARDS ARROW}", 0.985), (low, 0, "reference", "\N{DOWNWARDS ARROW}", 0.015))
    for start, end, role, arrow, height in sides:
        of_side = list(gaps[role].drop_duplicates())
        label = of_side[0] if len(of_side) == 1 else None
        color = optimizer_style(label, labels)["color"] if label else FAINT
        axes.axhspan(start, end, color=color, alpha=0.05, linewidth=0, zorder=0)
        supported = bool((gaps["better"] == gaps[role]).any())
        who = optimizer_title(label) if label else "other" if role == "challenger" else "reference"
        looks: dict[str, Any] = {"fontweight": "bold", "color": color} if supported else {"color": FAINT}
        words = f"{who} {'better' if supported else 'ahead'} {arrow}"
        axes.text(0.02, height, words, transform=axes.transAxes, va="top" if start == 0 else "bottom", **looks)


def _mark_crossover(axes: Axes, crossover: Crossover) -> None:
    if crossover.low is None or crossover.high is None:
        return
    between = f"between {crossover.low} and {crossover.high}"
    looks: dict[str, Any] = {"color": FAINT, "alpha": 0.13, "linewidth": 0, "zorder": 0.5}
    axes.axvspan(crossover.low, crossover.high, label=f"crossover {between}", **looks)
    explain(axes, "Grey: between the batch sizes of the claimed crossover.")
    zero = crossover.interpolated if crossover.line_zero is None else crossover.line_zero
    if zero is None:
        return
    axes.axvline(zero, color=INK, linewidth=scaled(0.9), linestyle=(0, (1, 1.6)), zorder=1.4)
    share = float(axes.transAxes.inverted().transform(axes.transData.transform((zero, 0)))[0])
    interval = crossover.interpolated_interval if crossover.line_zero is None else crossover.line_interval
    spread = f"{LEVEL:.0%}: {interval_text(interval).removeprefix(f'{LEVEL:.0%} interval ')}"
    words = f"crossover \N{ALMOST EQUAL TO} {batch_size_text(zero)} ({between if interval is None else spread})"
    # Above the panel, where no data are, and within its width; on as many lines in every panel.
    figure = axes.get_figure(root=True)
    assert figure is not None
    share_of_letter = 0.47 / (min(map(panel_ems, figure.axes)) - 2)
    if share_of_letter * len(words) > 1:
        words = words.replace(" (", "\n(")
    half = share_of_letter * max(map(len, words.split("\n"))) / 2
    middle = min(max(share, half), 1 - half) if half < 0.5 else 0.5
    axes.text(middle, 1.01, words, ha="center", va="bottom", fontsize=scaled(8), transform=axes.transAxes)
