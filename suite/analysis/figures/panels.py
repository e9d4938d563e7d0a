"""Several panels or optimizers in one figure: relative gap against batch size, or a line each where there is one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.gap import name_sides
from suite.analysis.figures.gap_series import GapSeries, draw_gaps, gap_tip
from suite.analysis.figures.layout import at_left, label_bottoms, legend_above, legend_entries, panel_grid
from suite.analysis.figures.marks import CAP, MARKER, PAPERS, tip
from suite.analysis.figures.palette import optimizer_style, series_style
from suite.analysis.figures.scales import batch_size_axis, zero_line
from suite.analysis.figures.style import FAINT, INK, Captioned, em, explain, look, scaled
from suite.analysis.gap import SERIES, on_edge
from suite.analysis.words import optimizer_title, series_names

_ALIKE = 3
"""Factor within which ranges of gaps share one axis."""

_NAME_WIDTH = 26
"""Letters of a row's name in a line."""


def panels_figure(
    gaps: pd.DataFrame, published: pd.DataFrame | None = None, labels: Sequence[str] | None = None
) -> Figure | None:
    """All relative gaps of a sweep: a series per panel over batch size (as paper 1, Figure 1), else a row per gap.

    Every panel has axes of its own where there are several panels and several optimizers against the reference, and
    where the widest range of one panel's gaps is more than `_ALIKE` times the narrowest: on one axis that would be
    flat.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        published: see `suite.analysis.published.published_gaps`; those beside a measured gap are drawn as crosses.
        labels: optimizers in the order of their colours; by default those of the gaps.

    Returns:
        The figure; None with fewer than two series, or where `suite.analysis.figures.gap.gap_figure` shows them all.
    """
    finite = gaps[np.isfinite(gaps["relative_gap"].to_numpy(dtype=float))]
    finite = finite.assign(paper=_papers(finite, published))
    groups = list(finite.groupby(SERIES, sort=False))
    if len(groups) < 2:
        return None
    names = series_names([key for key, _ in groups])
    series = [(name, rows) for name, (_, rows) in zip(names, groups, strict=True)]
    if finite["batch_size"].nunique() < 2 or max(len(rows) for _, rows in series) < 2:
        return _row_per_gap(series)
    if finite["task"].nunique() < 2:
        return None
    reaches = [_reach(rows) for _, rows in series]
    if finite["challenger"].nunique() < 2 and max(reaches) <= _ALIKE * min(reaches):
        return _over_batch_size(series)
    return _panel_per_task(series, labels or list(dict.fromkeys([*gaps["reference"], *gaps["challenger"]])))


def _papers(gaps: pd.DataFrame, published: pd.DataFrame | None) -> list[float]:
    """The published relative gap beside each measured one, NaN where there is none."""
    if published is None or published.empty:
        return [np.nan] * len(gaps)
    printed = published.dropna(subset=["published_relative_gap", "own_batch_size"])
    keys = printed[[*SERIES, "own_batch_size"]].itertuples(index=False, name=None)
    papers = dict(zip(keys, printed["published_relative_gap"], strict=True))
    return [papers.get(key, np.nan) for key in gaps[[*SERIES, "batch_size"]].itertuples(index=False, name=None)]


def _reach(rows: pd.DataFrame) -> float:
    """From the lowest to the highest end of a series' intervals, with zero and the paper's values."""
    gaps, bars = (rows[name].to_numpy(dtype=float) for name in ("relative_gap", "relative_uncertainty"))
    half = np.nan_to_num(bars)
    shown = [0.0, *(gaps - half), *(gaps + half), *rows["paper"].dropna()]
    return max(shown) - min(shown)


def _over_batch_size(series: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    figure = Captioned(24)
    axes = figure.subplots()
    batch_size_axis(axes, pd.concat([rows["batch_size"] for _, rows in series]))
    lines = [GapSeries(name=name, rows=rows, **series_style(number)) for number, (name, rows) in enumerate(series)]
    _draw(axes, lines, pd.concat([rows for _, rows in series]))
    axes.set_ylabel("relative gap (%)")
    legend_above(figure, *legend_entries([axes]))
    return figure


def _panel_per_task(series: Sequence[tuple[str, pd.DataFrame]], labels: Sequence[str]) -> Figure:
    """A panel per task, each with its own scale, and the optimizers in the colours of all other figures."""
    tasks: dict[str, list[pd.DataFrame]] = {}
    for _, rows in series:
        tasks.setdefault(rows["task"].iloc[0], []).append(rows)
    references = {rows["reference"].iloc[0] for _, rows in series}
    is_one_pair = len({(rows["reference"].iloc[0], rows["challenger"].iloc[0]) for _, rows in series}) == 1
    figure, (panels,) = panel_grid(len(tasks), height=20, narrowest=17)
    for axes, (task, of_task) in zip(panels, tasks.items(), strict=True):
        batch_size_axis(axes, pd.concat([rows["batch_size"] for rows in of_task]))
        lines = []
        for rows in of_task:
            label = rows["challenger"].iloc[0]
            against = "" if len(references) == 1 else f" against {optimizer_title(rows['reference'].iloc[0])}"
            looks = {key: value for key, value in optimizer_style(label, labels).items() if key != "linestyle"}
            looks = {"color": INK, "marker": "o"} if is_one_pair else looks
            lines.append(
                GapSeries(name="measured" if is_one_pair else optimizer_title(label) + against, rows=rows, **looks)
            )
        _draw(axes, lines, pd.concat(of_task), labels)
        axes.set_title(task)
        axes.set_xlabel("")
        if at_left(axes):
            axes.set_ylabel("relative gap (%)")
    label_bottoms(panels, "batch size")
    handles, names = legend_entries(panels)
    if len(names) > 1:
        legend_above(figure, handles, names)
    return figure


def _draw(axes: Axes, lines: Sequence[GapSeries], gaps: pd.DataFrame, labels: Sequence[str] = ()) -> None:
    papers = gaps["paper"].dropna()
    draw_gaps(axes, lines, list(papers))
    zero_line(axes)
    name_sides(axes, gaps, labels)
    for line in lines:
        axes.plot([], [], linestyle="none", marker=line.marker, color=line.color, label=line.name)
        axes.plot(line.rows["batch_size"], line.rows["paper"], linestyle="none", marker="x", color=line.color, zorder=3)
    if len(papers):
        axes.plot([], [], linestyle="none", marker="x", color=FAINT, label=PAPERS)
        explain(axes, "Crosses: values that the paper prints.")


def _row_per_gap(series: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    gaps = [(name, row) for name, rows in series for _, row in rows.assign(open=on_edge(rows)).iterrows()]
    several = len({row["batch_size"] for _, row in gaps}) > 1
    names = [
        "\n".join(textwrap.wrap(f"{name}, batch size {row['batch_size']}" if several else name, _NAME_WIDTH))
        for name, row in gaps
    ]
    lines = sum(name.count("\n") + 1 for name in names)
    figure = Captioned(5 + 1.3 * lines + 1.0 * len(gaps))
    axes = figure.subplots()
    for height, (name, row) in enumerate(gaps):
        _row(axes, height, name, row)
    axes.axvline(0, color=INK, linewidth=scaled(0.9), zorder=1.5)
    papers = np.array([row["paper"] for _, row in gaps], dtype=float)
    if np.isfinite(papers).any():
        axes.plot(papers, np.arange(len(gaps)), linestyle="none", marker="x", color=FAINT, label=PAPERS)
        legend_above(figure, *legend_entries([axes]))
        explain(axes, "Crosses: values that the paper prints.")
    axes.set_yticks(range(len(gaps)), names)
    axes.set_ylim(len(gaps) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    low, high = (_only({row[role] for _, row in gaps}) or f"the {role}" for role in ("reference", "challenger"))
    words = f"\N{LEFTWARDS ARROW} {low} ahead   relative gap (%)   {high} ahead \N{RIGHTWARDS ARROW}"
    figure.supxlabel("\n".join(textwrap.wrap(words, int(1.7 * look().width / em()))), fontsize=scaled(9))
    return figure


def _row(axes: Axes, height: int, name: str, row: pd.Series) -> None:
    """One gap with its interval, in ink where somebody is better."""
    better = row["verdict"] == "better"
    color = INK if better else FAINT
    bar = float(row["relative_uncertainty"])
    if np.isfinite(bar):
        looks: dict[str, Any] = {"elinewidth": scaled(1), "capsize": scaled(CAP), "zorder": 3.5}
        axes.errorbar(row["relative_gap"], height, xerr=bar, fmt="none", ecolor=color, **looks)
        explain(axes, "Bars: 95% intervals.")
    face = "white" if row["open"] else color
    axes.plot(
        row["relative_gap"], height, marker="o", markersize=scaled(MARKER), color=color, markerfacecolor=face, zorder=3
    )
    if row["open"]:
        explain(axes, "Open points: a tuned point lies on the edge of its grid.")
    if not better:
        explain(axes, "Grey: nobody is better at 95%.")
    tip(axes, row["relative_gap"], height, f"{name}\n{gap_tip(row)}")


def _only(labels: set[str]) -> str | None:
    """The title of the only optimizer; None where there are several."""
    return optimizer_title(next(iter(labels))) if len(labels) == 1 else None
