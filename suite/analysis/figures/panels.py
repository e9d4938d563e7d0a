"""Several panels or optimizers in one figure: relative gap against batch size, or a line each where there is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.gap_series import GapSeries, draw_gaps, gap_tip
from suite.analysis.figures.style import (
    FAINT,
    INK,
    SERIES_COLORS,
    SERIES_MARKERS,
    TILES_PER_ROW,
    WIDTH,
    batch_size_axis,
    beside,
    legend_above,
    legend_entries,
    optimizer_style,
    panel_grid,
    signed_axis,
    tip,
    zero_line,
)
from suite.analysis.gap import SERIES, on_edge
from suite.analysis.words import optimizer_title, series_names


def panels_figure(gaps: pd.DataFrame, published: pd.DataFrame | None = None) -> Figure | None:
    """All relative gaps of a sweep: a series per panel over batch size (as paper 1, Figure 1), else a row per gap.

    Where there are several panels and several optimizers against the reference, every panel has axes of its own.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        published: see `suite.analysis.published.published_gaps`; those beside a measured gap are drawn as crosses.

    Returns:
        The figure; None with fewer than two series.
    """
    finite = gaps[np.isfinite(gaps["relative_gap"].to_numpy(dtype=float))]
    finite = finite.assign(paper=_papers(finite, published))
    groups = list(finite.groupby(SERIES, sort=False))
    if len(groups) < 2:
        return None
    names = series_names([key for key, _ in groups])
    series = [(name, rows) for name, (_, rows) in zip(names, groups, strict=True)]
    if finite["batch_size"].nunique() > 1 and max(len(rows) for _, rows in series) > 1:
        crossed = finite["task"].nunique() > 1 and finite["challenger"].nunique() > 1
        return _panel_per_task(series) if crossed else _over_batch_size(series)
    return _row_per_gap(series)


def _papers(gaps: pd.DataFrame, published: pd.DataFrame | None) -> list[float]:
    """The published relative gap beside each measured one, NaN where there is none."""
    if published is None or published.empty:
        return [np.nan] * len(gaps)
    printed = published.dropna(subset=["published_relative_gap", "own_batch_size"])
    keys = printed[[*SERIES, "own_batch_size"]].itertuples(index=False, name=None)
    papers = dict(zip(keys, printed["published_relative_gap"], strict=True))
    return [papers.get(key, np.nan) for key in gaps[[*SERIES, "batch_size"]].itertuples(index=False, name=None)]


def _over_batch_size(series: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.6))
    axes = figure.subplots()
    batch_size_axis(axes, pd.concat([rows["batch_size"] for _, rows in series]))
    for number, (name, rows) in enumerate(series):
        color, marker = (kind[number % len(kind)] for kind in (SERIES_COLORS, SERIES_MARKERS))
        shift = beside(number, len(series))
        _draw(axes, GapSeries(name=name, rows=rows, color=color, marker=marker, shift=shift))
    winner = _only({rows["challenger"].iloc[0] for _, rows in series}) or "the challenger"
    axes.set_ylabel(f"relative gap (%); above zero, {winner} is better")
    _finish(axes, [rows for _, rows in series])
    figure.legend(loc="outside right upper")
    return figure


def _panel_per_task(series: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    """A panel per task, each with its own scale, and a line per optimizer in the colours of all other figures."""
    tasks: dict[str, list[pd.DataFrame]] = {}
    for _, rows in series:
        tasks.setdefault(rows["task"].iloc[0], []).append(rows)
    reference = _only({rows["reference"].iloc[0] for _, rows in series})
    challengers = list(dict.fromkeys(rows["challenger"].iloc[0] for _, rows in series))
    figure, (panels,) = panel_grid(len(tasks), 2.5, per_row=TILES_PER_ROW, width=WIDTH, margin=0.5)
    for axes, (task, lines) in zip(panels, tasks.items(), strict=True):
        batch_size_axis(axes, pd.concat([rows["batch_size"] for rows in lines]))
        for rows in lines:
            label = rows["challenger"].iloc[0]
            against = "" if reference else f" against {optimizer_title(rows['reference'].iloc[0])}"
            looks = {key: look for key, look in optimizer_style(label, challengers).items() if key != "linestyle"}
            shift = beside(challengers.index(label), len(challengers))
            _draw(axes, GapSeries(name=optimizer_title(label) + against, rows=rows, shift=shift, **looks))
        axes.set_title(task)
        _finish(axes, lines)
    better = f"better than {reference}" if reference else "the challenger is better"
    figure.supylabel(f"relative gap (%); above zero, {better}", fontsize=8)
    legend_above(figure, *legend_entries(panels))
    return figure


def _only(labels: set[str]) -> str | None:
    """The title of the only optimizer; None where there are several."""
    return optimizer_title(next(iter(labels))) if len(labels) == 1 else None


def _draw(axes: Axes, series: GapSeries) -> None:
    draw_gaps(axes, series)
    axes.plot([], [], linestyle="none", marker=series.marker, color=series.color, label=series.name)
    sizes = series.rows["batch_size"].to_numpy(dtype=float) * 2**series.shift
    axes.plot(sizes, series.rows["paper"], linestyle="none", marker="x", color=series.color)


def _finish(axes: Axes, lines: Sequence[pd.DataFrame]) -> None:
    zero_line(axes)
    if any(rows["paper"].notna().any() for rows in lines):
        axes.plot([], [], linestyle="none", marker="x", color=FAINT, label="the paper's")
    signed_axis(axes, np.concatenate([rows["relative_gap"].to_numpy(dtype=float) for rows in lines]))


def _row_per_gap(series: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    gaps = [(name, row) for name, rows in series for _, row in rows.assign(open=on_edge(rows)).iterrows()]
    figure = Figure(figsize=(WIDTH, 0.6 + 0.3 * len(gaps)))
    axes = figure.subplots()
    for height, (name, row) in enumerate(gaps):
        color = INK if row["verdict"] == "better" else FAINT
        bar = np.nan_to_num(float(row["relative_uncertainty"]))
        axes.errorbar(row["relative_gap"], height, xerr=bar, fmt="none", ecolor=color, elinewidth=1, capsize=2.5)
        face = "white" if row["open"] else color
        axes.plot(row["relative_gap"], height, marker="o", color=color, markerfacecolor=face)
        tip(axes, row["relative_gap"], height, f"{name}\n{gap_tip(row)}")
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1.5)
    papers = np.array([row["paper"] for _, row in gaps], dtype=float)
    if np.isfinite(papers).any():
        axes.plot(papers, np.arange(len(gaps)), linestyle="none", marker="x", color=FAINT, label="the paper's")
        figure.legend(loc="outside right upper")
    several = len({row["batch_size"] for _, row in gaps}) > 1
    labels = [f"{name}, batch size {row['batch_size']}" if several else name for name, row in gaps]
    axes.set_yticks(range(len(gaps)), labels)
    axes.set_ylim(len(gaps) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    low, high = (_only({row[role] for _, row in gaps}) or f"the {role}" for role in ("reference", "challenger"))
    figure.supxlabel(f"relative gap (%): negative, {low} is better; positive, {high}", fontsize=8)
    return figure
