"""The headline figure: relative and absolute gap against batch size, with the crossover."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.crossover import Crossover
from suite.analysis.crossover_interval import batch_size_words
from suite.analysis.figures.style import (
    FAINT,
    INK,
    WIDTH,
    batch_size_axis,
    beside,
    legend_above,
    optimizer_style,
    signed_axis,
    tip,
)
from suite.analysis.gap import on_edge
from suite.analysis.table import format_setting, optimizer_title


def gap_figure(
    gaps: pd.DataFrame,
    crossovers: Sequence[Crossover],
    labels: Sequence[str],
    published: pd.DataFrame | None = None,
    fit: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Figure:
    """Gap against batch size: relative on the left, absolute on the right.

    Points with bars are the measured gaps and their uncertainty, open where a tuned point lies on its
    grid's edge; dashed is the least-squares line in log2 of the batch size, one octave past the data on
    each side; the grey band is the crossover's interval.

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
    columns = (("relative_gap", "relative_uncertainty"), ("gap", "uncertainty"))
    reference = optimizer_title(gaps["reference"].iloc[0])
    for axes, (value, bound), unit in zip(panels, columns, (f" (% of {reference}'s)", ""), strict=True):
        batch_size_axis(axes, gaps["batch_size"])
        pairs = list(gaps.groupby(["reference", "challenger"], sort=False))
        for place, ((_, challenger), rows) in enumerate(pairs):
            drawn = _pair_style(str(challenger), labels, crossovers)
            _draw_pair(axes, rows, value, bound, drawn, beside(place, len(pairs)))
        known = _published(published, gaps, value)
        _frame(axes, gaps, value, bound, known[value])
        if len(crossovers) == 1:
            _zero_line(axes, gaps, value, crossovers[0].challenger, labels)
            _mark_crossover(axes, crossovers[0])
        else:
            _zero_line(axes, gaps, value, None, labels)
        if len(known):
            axes.plot(known["batch_size"], known[value], linestyle="none", marker="x", color=FAINT, label="the paper's")
        for _, row in known.iterrows():
            tip(axes, row["batch_size"], row[value], f"the paper: {row[value]:+.4g}\n{row['source']}")
        axes.set_ylabel(_quantity(crossovers) + unit)
    if fit is not None:
        sizes = np.geomspace(gaps["batch_size"].min(), gaps["batch_size"].max(), 200)
        panels[1].plot(sizes, fit(sizes), color=FAINT, linewidth=1.1, linestyle="-.", label="theory's three terms")
        panels[1].legend(loc="best")
    panels[0].set_title("Relative gap")
    panels[1].set_title("Absolute gap")
    if len(crossovers) > 2:
        legend_above(figure, *panels[0].get_legend_handles_labels())
    elif len(crossovers) > 1 or len(known):
        panels[0].legend(loc="best")
    return figure


def gap_tip(row: pd.Series) -> str:
    """A gap and the settings behind it, in the words of a tooltip."""
    sides = [
        f"{optimizer_title(row[role])} {row[f'{role}_loss']:.4f} ({format_setting(row[f'{role}_setting'])})"
        for role in ("reference", "challenger")
    ]
    gap = f"gap {row['gap']:+.4f} +/- {row['uncertainty']:.4f} ({row['relative_gap']:+.2f}%)"
    return "\n".join([f"batch size {row['batch_size']}: {gap}", *sides])


def _published(published: pd.DataFrame | None, gaps: pd.DataFrame, value: str) -> pd.DataFrame:
    """Published values at measured batch sizes, in the column that a panel shows."""
    if published is None:
        return pd.DataFrame({"batch_size": [], value: [], "source": []})
    mine = published[published["task"].isin(gaps["task"]) & published["batch_size"].isin(gaps["batch_size"])]
    known = mine[["batch_size", f"published_{value}", "source"]].dropna()
    return known.rename(columns={f"published_{value}": value})


def _quantity(crossovers: Sequence[Crossover]) -> str:
    challengers = {found.challenger for found in crossovers}
    other = optimizer_title(challengers.pop()) if len(challengers) == 1 else "other"
    return f"{optimizer_title(crossovers[0].reference)} \N{MINUS SIGN} {other}, tuned final loss"


def _pair_style(challenger: str, labels: Sequence[str], crossovers: Sequence[Crossover]) -> dict[str, str]:
    drawn = optimizer_style(challenger, labels)
    # Alone, a gap belongs to neither optimizer: it is drawn in ink, and the colours name the sides of zero.
    color = INK if len(crossovers) == 1 else drawn["color"]
    return {"color": color, "marker": "o" if len(crossovers) == 1 else drawn["marker"], "label": challenger}


def _draw_pair(axes: Axes, rows: pd.DataFrame, value: str, bound: str, drawn: dict[str, str], shift: float) -> None:
    """One pair; its points stand ``shift`` octaves from their batch size, which tells those of several pairs apart."""
    finite = rows[np.isfinite(rows[value].to_numpy(dtype=float))]
    sizes, values = finite["batch_size"].to_numpy(dtype=float), finite[value].to_numpy(dtype=float)
    edge = on_edge(finite)
    color = drawn["color"]
    if len(values) > 1:
        slope, intercept = np.polyfit(np.log2(sizes), values, 1)
        ends = np.linspace(np.log2(sizes[0]) - 1, np.log2(sizes[-1]) + 1)
        axes.plot(2**ends, intercept + slope * ends, color=color, linestyle=(0, (4, 2.5)), linewidth=1, alpha=0.75)
    sizes = sizes * 2**shift
    bars = finite[bound].to_numpy(dtype=float)
    axes.errorbar(
        sizes,
        values,
        yerr=np.nan_to_num(bars),
        fmt="none",
        ecolor=color,
        elinewidth=1,
        capsize=2.5,
        capthick=1,
    )
    for chosen, face in ((~edge, color), (edge, "white")):
        axes.plot(
            sizes[chosen],
            values[chosen],
            linestyle="none",
            marker=drawn["marker"],
            markersize=6.5,
            markerfacecolor=face,
            markeredgecolor=color,
            markeredgewidth=1.4,
            zorder=3,
        )
    for size, height, (_, row) in zip(sizes, values, finite.iterrows(), strict=True):
        tip(axes, size, height, gap_tip(row))
    title = optimizer_title(drawn["label"])
    axes.plot([], [], color=color, marker=drawn["marker"], linestyle=(0, (4, 2.5)), linewidth=1, label=title)


def _frame(axes: Axes, gaps: pd.DataFrame, value: str, bound: str, published: pd.Series) -> None:
    """Limits that hold zero, every bar and every published value; infinite gaps become arrows at the border."""
    values = gaps[value].to_numpy(dtype=float)
    bars = np.nan_to_num(gaps[bound].to_numpy(dtype=float), nan=0, posinf=0)
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
            axes.annotate(
                f"{optimizer_title(loser)} diverged",
                xy=(size, end),
                xytext=(4, -2 if gap > 0 else 2),
                textcoords="offset points",
                rotation=90,
                ha="left",
                va="top" if gap > 0 else "bottom",
                fontsize=7,
            )
            axes.annotate(
                "",
                xy=(size, end),
                xytext=(size, end - math.copysign(0.22 * (high - low), gap)),
                arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
            )


def _zero_line(axes: Axes, gaps: pd.DataFrame, value: str, challenger: str | None, labels: Sequence[str]) -> None:
    """The line that decides, with the two directions named on the side where the data leaves room."""
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1.5)
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
        if max(_room(gaps, value, height, right=right) for right in (True, False)) <= abs(gutter):
            anchor, height = edge, edge - gutter  # no room at the line: at the panel's edge
        right = _room(gaps, value, height, right=True) >= _room(gaps, value, height, right=False)
        outwards = height > anchor
        axes.annotate(
            text,
            xy=(1 if right else 0, anchor),
            xycoords=("axes fraction", "data"),
            xytext=(-3 if right else 3, 3 if outwards else -3),
            textcoords="offset points",
            ha="right" if right else "left",
            va="bottom" if outwards else "top",
            fontsize=7.5,
            fontweight="bold",
            color=color,
        )


def _room(gaps: pd.DataFrame, value: str, height: float, *, right: bool) -> float:
    """How far the nearest point of one side's third of the panel lies from a height, its bar included."""
    place = np.log2(gaps["batch_size"].to_numpy(dtype=float))
    share = (place - place.min() + 1) / (np.ptp(place) + 2)
    near = (share > 0.6) if right else (share < 0.4)
    distance = np.abs(gaps[value].to_numpy(dtype=float)[near] - height)
    bars = np.nan_to_num(gaps[value.replace("gap", "uncertainty")].to_numpy(dtype=float)[near])
    free = distance - bars
    return float(np.nanmin(free)) if np.isfinite(free).any() else math.inf


def _mark_crossover(axes: Axes, found: Crossover) -> None:
    if not found.in_range:
        return
    left, right = axes.get_xlim()
    axes.axvspan(found.low or left, found.high or right, color=FAINT, alpha=0.13, linewidth=0, zorder=0.5)
    if found.interpolated is None or not found.resolved:
        return
    axes.axvline(found.interpolated, color=INK, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=1.4)
    axes.plot(
        [found.interpolated],
        [0],
        marker="X",
        markersize=7.5,
        color=INK,
        markeredgecolor="white",
        zorder=4,
        clip_on=False,
    )
    # Beside the line, on the side where the panel goes on.
    late = math.log(found.interpolated / left) > 0.6 * math.log(right / left)
    axes.annotate(
        f"crossover \N{ALMOST EQUAL TO} {batch_size_words(found.interpolated)}\n({found.low} to {found.high})",
        xy=(found.interpolated, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if late else 3, -3),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        fontsize=7.5,
    )
