"""Steps to a target loss against batch size, beside the line on which doubling the batch halves the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.layout import legend_above, legend_entries, panel_grid
from suite.analysis.figures.marks import ARROW, beside, intervals, plot_points, side_offsets, tip
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import batch_size_axis, log_axis
from suite.analysis.figures.style import FAINT, INK, explain, scaled
from suite.analysis.words import count_text, optimizer_title

_WITHIN = 1.08
"""Factor by which an arrowhead lies within the panel, so that all of it is seen."""


def target_figure(steps: pd.DataFrame, critical: pd.DataFrame, labels: Sequence[str]) -> Figure | None:
    """Steps, and tokens or samples, to the target against batch size.

    Args:
        steps: of one task, see `suite.analysis.target.target_table`.
        critical: see `suite.analysis.critical.critical_table`.
        labels: optimizers in the order of their colours.

    Returns:
        The figure; None where fewer than two points reach the target.
    """
    reached = steps[steps["outcome"] == "reached"]
    if len(reached) < 2:
        return None
    figure, (panels,) = panel_grid(2, height=19, narrowest=19)
    unit = "tokens" if reached["tokens"].notna().all() else "samples"
    target = float(reached["target"].iloc[0])
    goes_on = False
    for axes, name in zip(panels, ("steps", unit), strict=True):
        batch_size_axis(axes, steps["batch_size"], octaves=0.6)
        axes.set_ylabel(f"{name} to a loss of {target:.4g}")
        goes_on |= _panel(axes, reached, name, critical, labels)
    _halving(panels[0], reached)
    fitted = critical.loc[critical["optimizer"].isin(reached["optimizer"]), "least_steps"]
    _name_lines(panels[-1], fitted=bool(np.isfinite(fitted.to_numpy(dtype=float)).any()), goes_on=goes_on)
    legend_above(figure, *legend_entries(panels))
    return figure


def _panel(axes: Axes, reached: pd.DataFrame, name: str, critical: pd.DataFrame, labels: Sequence[str]) -> bool:
    """Draw one quantity, with intervals, and the fitted form.

    An interval without an end, or with one beyond a third of the least or three times the most, has an arrowhead at
    the border and does not stretch the axis; returns whether there is one.
    """
    per_step = (reached[name] / reached["steps"]).to_numpy(dtype=float)
    values = reached[name].to_numpy(dtype=float)
    lows, highs = (reached[f"steps_{end}"].to_numpy(dtype=float) * per_step for end in ("low", "high"))
    beyond = lows < values.min() / 3, highs > values.max() * 3
    shown = np.concatenate([values, lows[~beyond[0]], highs[~beyond[1]]])
    bottom, top = np.nanmin(shown) / 1.4, np.nanmax(shown) * 1.4
    axes.set_yscale("log")
    log_axis(axes.yaxis, bottom, top, count_text)
    axes.set_ylim(bottom, top)
    lows, highs = np.where(beyond[0], bottom * _WITHIN, lows), np.where(beyond[1], top / _WITHIN, highs)
    frame = reached.assign(value=values, low=lows, high=highs, low_open=beyond[0], high_open=beyond[1])
    series = {label: rows for label in labels if len(rows := frame[frame["optimizer"] == label])}
    spans = [
        {row.batch_size: (_or(row.low, row.value), _or(row.high, row.value)) for row in rows.itertuples()}
        for rows in series.values()
    ]
    for (label, rows), moved in zip(series.items(), side_offsets(axes, spans), strict=True):
        _draw(axes, rows.sort_values("batch_size"), label, labels, moved)
        form = critical[critical["optimizer"] == label]
        if len(form) and math.isfinite(form["least_steps"].iloc[0]):
            _form(axes, rows, name, form.iloc[0], optimizer_style(label, labels)["color"])
    return bool(np.any(beyond))


def _draw(axes: Axes, rows: pd.DataFrame, label: str, labels: Sequence[str], moved: Any) -> None:
    looks = optimizer_style(label, labels)
    title = optimizer_title(label)
    axes.plot(rows["batch_size"], rows["value"], color=looks["color"], zorder=2, **_joined())
    axes.plot([], [], label=title, color=looks["color"], marker=looks["marker"], linestyle="none")
    for row in rows.itertuples():
        shifted = beside(axes, moved.get(row.batch_size, 0.0))
        at, value = np.array([float(row.batch_size)]), np.array([row.value])
        ends = np.array([[row.value - row.low], [row.high - row.value]])
        goes_on = np.array([[row.low_open], [row.high_open]])
        intervals(axes, at, value, ends, looks["color"], moved=shifted, goes_on=goes_on)
        plot_points(axes, at, value, np.array([len(row.edges) > 0]), looks["color"], marker=looks["marker"],
                    transform=shifted)  # fmt: skip
        words = f"{title} at batch size {row.batch_size}: {count_text(row.value)}"
        tip(axes, float(row.batch_size), row.value, words, shifted)


def _form(axes: Axes, rows: pd.DataFrame, name: str, form: Any, color: str) -> None:
    """The fitted S + E / B."""
    sizes = np.geomspace(rows["batch_size"].min(), rows["batch_size"].max(), 60)
    each = float((rows[name] / rows["steps"] / rows["batch_size"]).iloc[0])
    steps = form["least_steps"] + form["least_samples"] / sizes
    axes.plot(sizes, steps if name == "steps" else steps * sizes * each, color=color, zorder=2.5, **_fitted())
    explain(axes, "Curves: S + E / B, whose bend is the critical batch size E / S.")


def _halving(axes: Axes, reached: pd.DataFrame) -> None:
    """The slope at which doubling the batch halves the steps, through the fewest steps at the smallest batch size."""
    sizes = np.array([reached["batch_size"].min(), reached["batch_size"].max()], dtype=float)
    start = float(reached.loc[reached["batch_size"] == sizes[0], "steps"].min())
    if sizes[1] > sizes[0]:
        axes.plot(sizes, start * sizes[0] / sizes, color=FAINT, linestyle=":", linewidth=scaled(1.1), zorder=1.8,
                  label="perfect scaling", scaley=False)  # fmt: skip
        explain(axes, "Dotted: perfect scaling, doubling the batch halves the steps.")


def _name_lines(axes: Axes, *, fitted: bool, goes_on: bool) -> None:
    """Entries of the legend for what is drawn in every optimizer's colour."""
    axes.plot([], [], color=INK, label="points joined", **_joined())
    if fitted:
        axes.plot([], [], color=INK, label="fit of S + E / B", **_fitted())
    if goes_on:
        axes.plot([], [], color=INK, linestyle="none", marker="^", markersize=scaled(ARROW), label="interval goes on")


def _or(value: float, other: float) -> float:
    return value if math.isfinite(value) else other


def _joined() -> dict[str, Any]:
    return {"alpha": 0.35, "linewidth": scaled(0.9)}


def _fitted() -> dict[str, Any]:
    return {"linewidth": scaled(1.2)}
