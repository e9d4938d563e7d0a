"""What the tuned points are: final loss and winning learning rate of every optimizer against batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.layout import legend_above, legend_entries, panel_grid
from suite.analysis.figures.marks import PAPERS, beside, intervals, plot_points, side_offsets, tip
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import batch_size_axis, decade_axis
from suite.analysis.figures.style import FAINT, explain, look, scaled
from suite.analysis.words import format_setting, optimizer_title

_WIDE = 20
"""Ratio of the largest loss to the smallest above which the axis is logarithmic."""


def tuned_figure(
    tuned: pd.DataFrame, labels: Sequence[str], published: pd.DataFrame | None = None, *, loss: str = "final loss"
) -> Figure:
    """Tuned final loss and, where there is one, winning learning rate against batch size.

    Points on the grid's edge are open.

    Args:
        tuned: tuned points of one task.
        labels: optimizers in the order of their colours; those without a point are left out.
        published: see `suite.analysis.published.published_losses`; those near measured losses are drawn as crosses.
        loss: what the final loss is called.
    """
    finite = tuned[np.isfinite(tuned["loss"].to_numpy(dtype=float))]
    series = {label: rows for label in labels if len(rows := finite[finite["optimizer"] == label])}
    rates = {label: rows[rows["setting"].map(_rate) > 0] for label, rows in series.items()}
    rates = {label: rows for label, rows in rates.items() if len(rows)}
    figure, (panels,) = panel_grid(2 if rates else 1, height=18, narrowest=19)
    for axes in panels:
        batch_size_axis(axes, tuned["batch_size"], octaves=0.6)
    panels[0].set_ylabel(f"tuned {loss}")
    _losses(panels[0], series, labels)
    if published is not None and series:
        _papers(panels[0], published[published["task"].isin(tuned["task"])], list(series), labels)
    if rates:
        _rates(panels[1], rates, labels)
    legend_above(figure, *legend_entries(panels))
    return figure


def _losses(axes: Axes, series: Mapping[str, pd.DataFrame], labels: Sequence[str]) -> None:
    losses = {label: rows["loss"].to_numpy(dtype=float) for label, rows in series.items()}
    if not series:
        return
    every = np.concatenate(list(losses.values()))
    scale = look().loss_scale
    logarithmic = every.min() > 0 and (scale == "log" or (scale == "auto" and every.max() > _WIDE * every.min()))
    lows, highs = {}, {}
    for label, rows in series.items():
        bars = np.nan_to_num(rows["uncertainty"].to_numpy(dtype=float))
        lows[label], highs[label] = losses[label] - bars, losses[label] + bars
        if logarithmic:
            # On a logarithmic axis an interval that reaches zero has no end.
            cut = lows[label] < losses[label] / 10
            lows[label] = np.where(cut, losses[label] / 10, lows[label])
            if cut.any():
                looks: dict[str, Any] = {"linestyle": "none", "marker": "v", "markersize": scaled(4), "zorder": 3.5}
                color = optimizer_style(label, labels)["color"]
                axes.plot(rows["batch_size"][cut], lows[label][cut], color=color, **looks)
                explain(axes, "Arrows: the interval goes on to zero.")
    low, high = min(map(np.min, lows.values())), max(map(np.max, highs.values()))
    if logarithmic:
        axes.set_yscale("log")
        decade_axis(axes.yaxis, [low, *every, high] if high / low > 30 else every)
        axes.set_ylim(low / 1.5, high * 1.5)
    else:
        room = 0.07 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)
    spans = {
        label: dict(zip(rows["batch_size"], zip(lows[label], highs[label], strict=True), strict=True))
        for label, rows in series.items()
    }
    moved = dict(zip(series, side_offsets(axes, list(spans.values())), strict=True))
    for label, rows in series.items():
        _draw(axes, rows, losses[label], label, labels, moved[label], spans[label])


def _papers(axes: Axes, published: pd.DataFrame, drawn: Sequence[str], labels: Sequence[str]) -> None:
    """Draw the paper's losses as crosses; those beyond twice the axis would press ours together and are only named."""
    beside_ours = published[published["own_batch_size"].notna() & published["optimizer"].isin(drawn)]
    if beside_ours.empty:
        return
    losses = beside_ours["published_loss"].to_numpy(dtype=float)
    to_axis, from_axis = axes.transData.transform, axes.transData.inverted().transform
    (_, bottom), (_, top) = (axes.transAxes.transform((0, height)) for height in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = np.array([to_axis((1, loss))[1] for loss in losses])
    near = (heights > bottom - (top - bottom) / 2) & (heights < top + (top - bottom) / 2)
    if near.any():
        room = 0.05 * (top - bottom)
        low, high = min(bottom, heights[near].min() - room), max(top, heights[near].max() + room)
        axes.set_ylim(from_axis((0, low))[1], from_axis((0, high))[1])
        axes.plot([], [], "x", color=FAINT, label=PAPERS)
        explain(axes, "Crosses: losses that the paper prints.")
    if not near.all():
        explain(axes, "Losses that the paper prints far from these are in the table alone.")
    for row in beside_ours[near].itertuples(index=False):
        size, loss = float(row.own_batch_size), float(row.published_loss)  # type: ignore[arg-type]
        color = optimizer_style(str(row.optimizer), labels)["color"]
        axes.plot(size, loss, "x", color=color, zorder=3.2)
        tip(axes, size, loss, f"the paper: {optimizer_title(str(row.optimizer))} {loss:.4g}\n{row.source}")


def _rates(axes: Axes, series: Mapping[str, pd.DataFrame], labels: Sequence[str]) -> None:
    axes.set_ylabel("tuned learning rate")
    rates = {label: rows["setting"].map(_rate).to_numpy(dtype=float) for label, rows in series.items()}
    every = np.concatenate(list(rates.values()))
    axes.set_yscale("log")
    decade_axis(axes.yaxis, every)
    axes.set_ylim(every.min() / 2, every.max() * 2)
    spans = [
        dict(zip(rows["batch_size"], zip(rates[label], rates[label], strict=True), strict=True))
        for label, rows in series.items()
    ]
    for (label, rows), moved in zip(series.items(), side_offsets(axes, spans), strict=True):
        of_lr = rows.assign(edges=rows["edges"].map(lambda edges: [edge for edge in edges if edge[0] == "lr"]))
        _draw(axes, of_lr, rates[label], label, labels, moved, {})


def _rate(setting: object) -> float:
    rate = dict(setting).get("lr", math.nan)  # type: ignore[call-overload]
    return float(rate) if isinstance(rate, int | float) else math.nan


def _draw(
    axes: Axes,
    rows: pd.DataFrame,
    values: np.ndarray,
    label: str,
    labels: Sequence[str],
    moved: Mapping[float, float],
    spans: Mapping[float, tuple[float, float]],
) -> None:
    """Draw one optimizer's points, joined in the order of the batch sizes."""
    looks = optimizer_style(label, labels)
    title = optimizer_title(label)
    line = {"color": looks["color"], "linestyle": looks["linestyle"]}
    axes.plot(rows["batch_size"], values, alpha=0.6, linewidth=scaled(1.1), zorder=2, **line)
    axes.plot([], [], label=title, **looks)
    is_open = rows["edges"].map(len).to_numpy() > 0
    for number, point in enumerate(rows.itertuples(index=False)):
        one = slice(number, number + 1)
        shifted = beside(axes, moved.get(point.batch_size, 0.0))
        sizes = np.array([float(point.batch_size)])  # type: ignore[arg-type]
        if spans and np.isfinite(point.uncertainty):  # type: ignore[arg-type]
            low, high = spans[point.batch_size]  # type: ignore[index]
            ends = np.array([[values[number] - low], [high - values[number]]])
            intervals(axes, sizes, values[one], ends, looks["color"], moved=shifted)
        plot_points(axes, sizes, values[one], is_open[one], looks["color"], marker=looks["marker"], transform=shifted)
        words = f"{title} at batch size {point.batch_size}: {point.loss:.4f}\n{format_setting(point.setting)}"
        tip(axes, point.batch_size, values[number], words, shifted)  # type: ignore[arg-type]
