"""Several panels or optimizers in one figure: relative gap against batch size, or a line each where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.gap import gap_tip
from suite.analysis.figures.style import (
    FAINT,
    INK,
    SERIES_COLORS,
    SERIES_MARKERS,
    WIDTH,
    batch_size_axis,
    beside,
    legend_above,
    optimizer_style,
    signed_axis,
    tip,
)
from suite.analysis.gap import on_edge
from suite.analysis.table import optimizer_title

TASKS_PER_ROW = 3


def panels_figure(gaps: pd.DataFrame, published: pd.DataFrame | None = None) -> Figure | None:
    """All relative gaps of a sweep: a series per panel over batch size (as paper 1, Figure 1), else a row per gap.

    Where there are several panels and several optimizers against the reference, every panel has axes of its own.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        published: see `suite.analysis.published.published_gaps`; those beside a measured gap are drawn as crosses.

    Returns:
        The figure; None with fewer than two series.
    """
    known = gaps[np.isfinite(gaps["relative_gap"].to_numpy(dtype=float))]
    series = list(known.groupby(["task", "reference", "challenger"], sort=False))
    if len(series) < 2:
        return None
    names, papers = _names(known), _papers(published)
    named = [(names[key], rows.assign(paper=_paper_of(rows, papers))) for key, rows in series]
    if known["batch_size"].nunique() > 1 and max(len(rows) for _, rows in series) > 1:
        crossed = known["task"].nunique() > 1 and known["challenger"].nunique() > 1
        return _panel_per_task(named) if crossed else _over_batch_size(named)
    return _rows(named)


_KEY = ["task", "reference", "challenger"]


def _papers(published: pd.DataFrame | None) -> dict[tuple[object, ...], float]:
    """Published relative gaps by what they stand beside."""
    if published is None or published.empty:
        return {}
    known = published.dropna(subset=["published_relative_gap", "own_batch_size"])
    keys = known[[*_KEY, "own_batch_size"]].itertuples(index=False, name=None)
    return dict(zip(keys, known["published_relative_gap"], strict=True))


def _paper_of(rows: pd.DataFrame, papers: dict[tuple[object, ...], float]) -> list[float]:
    keys = rows[[*_KEY, "batch_size"]].itertuples(index=False, name=None)
    return [papers.get(key, np.nan) for key in keys]


def _names(gaps: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """What tells the series apart: the task, the pair, or both."""
    keys = list(gaps.groupby(["task", "reference", "challenger"], sort=False).groups)
    tasks, pairs = {key[0] for key in keys}, {key[1:] for key in keys}
    names = {}
    for task, reference, challenger in keys:
        pair = f"{optimizer_title(challenger)} against {optimizer_title(reference)}"
        parts = [task] if len(tasks) > 1 else []
        names[task, reference, challenger] = ": ".join(parts + ([pair] if len(pairs) > 1 else []))
    return names


@dataclass(frozen=True, kw_only=True)
class _Series:
    """One line of a figure: its gaps, how it looks, and which of how many it is at a batch size."""

    name: str
    rows: pd.DataFrame
    color: str
    marker: str
    place: int
    count: int


def _over_batch_size(series: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.6))
    axes = figure.subplots()
    batch_size_axis(axes, pd.concat([rows["batch_size"] for _, rows in series]))
    for place, (name, rows) in enumerate(series):
        color, marker = (kind[place % len(kind)] for kind in (SERIES_COLORS, SERIES_MARKERS))
        _draw(axes, _Series(name=name, rows=rows, color=color, marker=marker, place=place, count=len(series)))
    winners = {optimizer_title(rows["challenger"].iloc[0]) for _, rows in series}
    winner = winners.pop() if len(winners) == 1 else "the challenger"
    axes.set_ylabel(f"relative gap (%); above zero, {winner} is better")
    _finish(axes, [rows for _, rows in series])
    figure.legend(loc="outside right upper")
    return figure


def _panel_per_task(series: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    """A panel per task, each with its own scale, and a line per optimizer in the colours of all other figures."""
    tasks: dict[str, list[pd.DataFrame]] = {}
    for _, rows in series:
        tasks.setdefault(rows["task"].iloc[0], []).append(rows)
    references = {optimizer_title(rows["reference"].iloc[0]) for _, rows in series}
    challengers = list(dict.fromkeys(rows["challenger"].iloc[0] for _, rows in series))
    columns = min(len(tasks), TASKS_PER_ROW)
    blocks = -(-len(tasks) // columns)
    figure = Figure(figsize=(WIDTH, 2.5 * blocks + 0.5))
    grid = figure.subplots(blocks, columns, squeeze=False)
    named: dict[str, Artist] = {}
    for axes, (task, lines) in zip(grid.flat, tasks.items(), strict=False):
        batch_size_axis(axes, pd.concat([rows["batch_size"] for rows in lines]))
        for rows in lines:
            label = rows["challenger"].iloc[0]
            drawn = optimizer_style(label, challengers)
            against = f" against {optimizer_title(rows['reference'].iloc[0])}" if len(references) > 1 else ""
            name = optimizer_title(label) + against
            looks = {"color": drawn["color"], "marker": drawn["marker"]}
            _draw(axes, _Series(name=name, rows=rows, **looks, place=challengers.index(label), count=len(challengers)))
        axes.set_title(task)
        _finish(axes, lines)
        named |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    for axes in grid.flat[len(tasks) :]:
        axes.set_axis_off()
    better = f"better than {references.pop()}" if len(references) == 1 else "the challenger is better"
    figure.supylabel(f"relative gap (%); above zero, {better}", fontsize=8)
    legend_above(figure, list(named.values()), list(named))
    return figure


def _draw(axes: Axes, series: _Series) -> None:
    rows = series.rows
    looks: dict[str, Any] = {"color": series.color, "marker": series.marker}
    sizes, values = rows["batch_size"].to_numpy(dtype=float), rows["relative_gap"].to_numpy(dtype=float)
    bars = np.nan_to_num(rows["relative_uncertainty"].to_numpy(dtype=float))
    if len(values) > 1:
        slope, intercept = np.polyfit(np.log2(sizes), values, 1)
        ends = np.linspace(np.log2(sizes[0]) - 1, np.log2(sizes[-1]) + 1)
        dashes: dict[str, Any] = {"color": series.color, "linestyle": (0, (4, 2.5)), "linewidth": 1, "alpha": 0.75}
        axes.plot(2**ends, intercept + slope * ends, **dashes)
    sizes = sizes * 2 ** beside(series.place, series.count)
    axes.errorbar(sizes, values, yerr=bars, fmt="none", ecolor=series.color, elinewidth=0.9, capsize=2)
    axes.plot(sizes, values, linestyle="none", label=series.name, zorder=3, **looks)
    edge = on_edge(rows)
    axes.plot(sizes[edge], values[edge], linestyle="none", markerfacecolor="white", zorder=3, **looks)
    axes.plot(sizes, rows["paper"], linestyle="none", marker="x", color=series.color)
    for size, value, (_, row) in zip(sizes, values, rows.iterrows(), strict=True):
        tip(axes, size, value, f"{series.name}\n{gap_tip(row)}")


def _finish(axes: Axes, lines: Sequence[pd.DataFrame]) -> None:
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1.5)
    if any(rows["paper"].notna().any() for rows in lines):
        axes.plot([], [], linestyle="none", marker="x", color=FAINT, label="the paper's")
    signed_axis(axes, np.concatenate([rows["relative_gap"].to_numpy(dtype=float) for rows in lines]))


def _rows(series: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    rows = [(name, row) for name, found in series for _, row in found.assign(open=on_edge(found)).iterrows()]
    figure = Figure(figsize=(WIDTH, 0.6 + 0.3 * len(rows)))
    axes = figure.subplots()
    for place, (name, row) in enumerate(rows):
        color = INK if row["resolved"] else FAINT
        bar = np.nan_to_num(float(row["relative_uncertainty"]))
        axes.errorbar(row["relative_gap"], place, xerr=bar, fmt="none", ecolor=color, elinewidth=1, capsize=2.5)
        face = "white" if row["open"] else color
        axes.plot(row["relative_gap"], place, marker="o", color=color, markerfacecolor=face)
        tip(axes, row["relative_gap"], place, f"{name}\n{gap_tip(row)}")
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1.5)
    papers = np.array([row["paper"] for _, row in rows], dtype=float)
    if np.isfinite(papers).any():
        axes.plot(papers, np.arange(len(rows)), linestyle="none", marker="x", color=FAINT, label="the paper's")
        figure.legend(loc="outside right upper")
    several = len({row["batch_size"] for _, row in rows}) > 1
    labels = [f"{name}, batch size {row['batch_size']}" if several else name for name, row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    sides = ({optimizer_title(found[role].iloc[0]) for _, found in series} for role in ("reference", "challenger"))
    low, high = (names.pop() if len(names) == 1 else f"the {role}" for names, role in zip(sides, _KEY[1:], strict=True))
    figure.supxlabel(f"relative gap (%): negative, {low} is better; positive, {high}", fontsize=8)
    return figure
