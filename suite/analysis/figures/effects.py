"""Effects of a task's settings on the gap, a row each with its interval, at every batch size."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.layout import at_left, legend_above, legend_entries, panel_grid
from suite.analysis.figures.marks import CAP, MARKER, tip
from suite.analysis.figures.palette import series_style
from suite.analysis.figures.style import INK, explain, scaled
from suite.analysis.gap import SERIES
from suite.analysis.words import number, optimizer_title, pair_text

_NAME_WIDTH = 22
"""Letters of an effect's name on one line."""

_SPREAD = 0.5
"""Share of a row over which the points of its batch sizes are spread."""


def effects_figure(effects: pd.DataFrame) -> Figure | None:
    """Effects and interactions of every task and pair of optimizers.

    Args:
        effects: see `suite.analysis.effects.effects_tables`.

    Returns:
        The figure, a panel per task and pair; None without effects.
    """
    if effects.empty:
        return None
    groups = list(effects.groupby(SERIES, sort=False))
    names = _names(effects)
    titles = ["\n".join(line for part in _parts(name) for line in textwrap.wrap(part, _NAME_WIDTH)) for name in names]
    lines = sum(title.count("\n") + 1 for title in titles)
    figure, (panels,) = panel_grid(len(groups), height=6 + 0.8 * lines + 1.2 * len(names), narrowest=18)
    for axes, ((task, reference, challenger), rows) in zip(panels, groups, strict=True):
        _draw(axes, rows, names)
        axes.axvline(0, color=INK, linewidth=scaled(0.9), zorder=1.5)
        axes.set_yticks(range(len(names)), titles if at_left(axes) else [""] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        low, high = optimizer_title(str(reference)), optimizer_title(str(challenger))
        axes.set_xlabel(f"\N{LEFTWARDS ARROW} {low}   effect (%)   {high} \N{RIGHTWARDS ARROW}")
        if len(groups) > 1:
            axes.set_title(_title(effects, str(task), str(reference), str(challenger)))
    ends = [end for axes in panels for end in axes.get_xlim()]
    for axes in panels:
        axes.set_xlim(min(ends), max(ends))
    if effects["batch_size"].nunique() > 1:
        legend_above(figure, *legend_entries(panels))
    return figure


def _names(effects: pd.DataFrame) -> list[str]:
    """All effects in the order of the design; a batch size that lacks some does not decide where these stand."""
    groups = [list(rows["effect_of"]) for _, rows in effects.groupby([*SERIES, "batch_size"], sort=False)]
    return list(dict.fromkeys(name for group in sorted(groups, key=len, reverse=True) for name in group))


def _parts(name: str) -> list[str]:
    """An effect's name, what it is compared with on a line of its own."""
    value, bracket, other = name.partition(" (not ")
    return [value, bracket.strip() + " " + other] if bracket else [name]


def _title(effects: pd.DataFrame, task: str, reference: str, challenger: str) -> str:
    """What tells a panel from the others: its task, its pair, or both."""
    has_pairs = len(effects[SERIES[1:]].drop_duplicates()) > 1
    words = [task] if effects["task"].nunique() > 1 else []
    return ", ".join([*words, *([pair_text(reference, challenger)] if has_pairs else [])])


def _draw(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """The effects of one task and pair, those of a row one below the other by batch size."""
    sizes = sorted(rows["batch_size"].unique())
    offsets = np.linspace(-_SPREAD / 2, _SPREAD / 2, len(sizes)) if len(sizes) > 1 else [0.0]
    for order, (size, offset) in enumerate(zip(sizes, offsets, strict=True)):
        looks = series_style(order)
        axes.plot([], [], linestyle="none", markersize=scaled(MARKER), label=f"batch size {size}", **looks)
        for row in rows[rows["batch_size"] == size].itertuples():
            _point(axes, row, names.index(str(row.effect_of)) + float(offset), looks)


def _point(axes: Axes, row: Any, height: float, looks: dict[str, Any]) -> None:
    """One effect with its interval, filled where it is not zero for sure."""
    if np.isfinite([row.low, row.high]).all():
        ends = [[row.effect - row.low], [row.high - row.effect]]
        bars: dict[str, Any] = {"elinewidth": scaled(1), "capsize": scaled(CAP), "zorder": 3.5}
        axes.errorbar([row.effect], [height], xerr=ends, fmt="none", ecolor=looks["color"], **bars)
        explain(axes, "Bars: 95% intervals.")
    face = looks["color"] if row.corrected else "white"
    axes.plot(
        [row.effect], [height], linestyle="none", markersize=scaled(MARKER), markerfacecolor=face, zorder=3, **looks
    )
    if not row.corrected:
        explain(axes, "Open points: zero is possible at 95%, corrected for the number of effects.")
    tip(axes, row.effect, height, f"{row.effect_of} at batch size {row.batch_size}: {number(row.effect, '+.2f', ' %')}")
