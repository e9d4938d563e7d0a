"""Tuned settings against batch size with their power laws, and the exponents that rules predict."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.layout import legend_above, legend_entries, panel_grid
from suite.analysis.figures.marks import plot_points, tip
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import batch_size_axis, log_axis, short
from suite.analysis.figures.style import INK, em, explain, scaled
from suite.analysis.tuned_laws import law_of, quantity_title, rule_of
from suite.analysis.words import optimizer_title

_POINTS = "Points: minimum of the parabola through the tuned setting and its neighbours."
"""Not the tuned settings of the tables, see `suite.analysis.tuned_laws.tuned_values`."""


def tuned_laws_figure(values: pd.DataFrame, labels: Sequence[str]) -> Figure | None:
    """A panel per quantity, a law per optimizer.

    Args:
        values: of one task, see `suite.analysis.tuned_laws.tuned_values`.
        labels: optimizers in the order of their colours.

    Returns:
        The figure; None where no quantity has a law.
    """
    by_quantity = {
        str(quantity): rows
        for quantity, rows in values.groupby("quantity", sort=False)
        if any(law_of(of_one) is not None for _, of_one in rows.groupby("optimizer"))
    }
    if not by_quantity:
        return None
    figure, (panels,) = panel_grid(len(by_quantity), height=17, narrowest=17)
    for axes, (quantity, rows) in zip(panels, by_quantity.items(), strict=True):
        batch_size_axis(axes, values["batch_size"], octaves=0.6)
        axes.set_yscale("log")
        shown = rows["value"].to_numpy(dtype=float)
        low, high = shown.min() / 2.2, shown.max() * 2.2
        log_axis(axes.yaxis, low, high, short)
        axes.set_ylim(low, high)
        axes.set_ylabel(f"tuned {quantity_title(quantity)}")
        for label in labels:
            of_one = rows[rows["optimizer"] == label]
            if len(of_one):
                _draw(axes, of_one, label, labels)
    _name_lines(panels[-1], by_quantity)
    figure.supxlabel("\n".join(textwrap.wrap(_POINTS, int(1.9 * figure.get_figwidth() / em()))), fontsize=scaled(8))
    legend_above(figure, *legend_entries(panels))
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, label: str, labels: Sequence[str]) -> None:
    """Points, law with its band, and the rule's slope from where the law starts."""
    looks, title = optimizer_style(label, labels), optimizer_title(label)
    sizes, values = (rows[name].to_numpy(dtype=float) for name in ("batch_size", "value"))
    edges = rows["edge"].to_numpy(dtype=bool)
    plot_points(axes, sizes, values, edges, looks["color"], marker=looks["marker"])
    axes.plot([], [], label=title, color=looks["color"], marker=looks["marker"], linestyle="none")
    law = law_of(rows)
    if law is not None:
        _law(axes, rows, looks["color"])
    for size, value in zip(sizes, values, strict=True):
        tip(axes, size, value, f"{title} at batch size {size:g}: {value:.3g}")


def _law(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    law = law_of(rows)
    assert law is not None
    along = np.geomspace(rows["batch_size"].min(), rows["batch_size"].max(), 40)
    axes.plot(along, law(along), color=color, linewidth=scaled(1.2), zorder=2.5)
    low, high = law.band(along)
    if np.isfinite(low).all():
        axes.fill_between(along, low, high, color=color, alpha=0.12, linewidth=0)
        explain(axes, "Lines: power laws; shaded: their 95% intervals.")
    name, exponent = rule_of(str(rows["quantity"].iloc[0]))
    if name:
        rule = float(law(along[:1])[0]) * (along / along[0]) ** exponent
        axes.plot(along, rule, color=color, linestyle=":", linewidth=scaled(1.1), zorder=1.8, scaley=False)
        explain(axes, "Dotted: the slopes that the rules predict, from where the laws start.")


def _name_lines(axes: Axes, quantities: Iterable[str]) -> None:
    """Entries of the legend for what is drawn in every optimizer's colour."""
    axes.plot([], [], color=INK, linewidth=scaled(1.2), label="law, 95% band")
    if any(rule_of(quantity)[0] for quantity in quantities):
        axes.plot([], [], color=INK, linestyle=":", linewidth=scaled(1.1), label="rule's slope")
