"""Gap against the share of a trunk's steps that its branches start after: paper 1, figure 7."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.gap import name_sides
from suite.analysis.figures.gap_series import GapSeries, draw_gaps
from suite.analysis.figures.layout import at_left, label_bottoms, legend_above, legend_entries, panel_grid
from suite.analysis.figures.palette import SERIES_MARKERS, optimizer_style
from suite.analysis.figures.scales import zero_line
from suite.analysis.figures.style import FAINT, scaled
from suite.analysis.words import optimizer_title, pair_text, share_text

_SERIES = ["trunk", "batch_size", "reference", "challenger"]


def branches_figure(gaps: pd.DataFrame, labels: Sequence[str] | None = None) -> Figure | None:
    """Relative gap of the branches over the trunk's share, a series per trunk, a panel per setting.

    Bars are 95% intervals; open points lie on the edge of their grid; an arrow at the border stands for an infinite gap
    (every setting of one optimizer diverged).

    Args:
        gaps: see `suite.analysis.branches.branch_gaps`.
        labels: optimizers in the order of their colours; by default those of the gaps.

    Returns:
        The figure; None where no gap is known.
    """
    gaps = gaps[gaps["relative_gap"].notna()]
    if gaps.empty:
        return None
    labels = labels or list(dict.fromkeys([*gaps["reference"], *gaps["challenger"], *gaps["trunk"]]))
    panels = list(gaps["panel"].drop_duplicates())
    figure, (panel_axes,) = panel_grid(len(panels), height=21, narrowest=17, margin=0)
    names = _names(gaps)
    for axes, panel in zip(panel_axes, panels, strict=True):
        _draw(axes, gaps[gaps["panel"] == panel], names, labels)
        axes.set_title(panel)
        if at_left(axes):
            axes.set_ylabel("relative gap (%)")
    label_bottoms(panel_axes, "branched off after this share of the trunk")
    if len(set(names.values())) > 1:
        legend_above(figure, *legend_entries(panel_axes))
    return figure


def _names(gaps: pd.DataFrame) -> dict[tuple[str, int, str, str], str]:
    """Labels of the lines: the trunk, and the batch size and pair where these differ."""
    keys = list(gaps.groupby(_SERIES, sort=False).groups)
    sizes, pairs = {key[1] for key in keys}, {key[2:] for key in keys}
    names = {}
    for trunk, size, reference, challenger in keys:
        parts = [f"{optimizer_title(trunk)} trunk" if trunk else "trunk"]
        parts += [f"batch size {size}"] if len(sizes) > 1 else []
        parts += [pair_text(reference, challenger)] if len(pairs) > 1 else []
        names[trunk, size, reference, challenger] = ", ".join(parts)
    return names


def _draw(axes: Axes, gaps: pd.DataFrame, names: dict[tuple[str, int, str, str], str], labels: Sequence[str]) -> None:
    series = []
    for key, rows in gaps.groupby(_SERIES, sort=False):
        color = optimizer_style(key[0], labels)["color"] if key[0] else FAINT
        of_trunk = [other for other in names if other[0] == key[0]]
        marker = SERIES_MARKERS[of_trunk.index(key) % len(SERIES_MARKERS)]
        # The x-axis is the share, in percent: a share is no batch size, so that no line in log2 goes through it.
        placed = rows.assign(place=100 * rows["share"])
        series.append(GapSeries(name=names[key], rows=placed, color=color, marker=marker, over="place"))
        axes.plot([], [], linestyle="none", marker=marker, color=color, label=names[key])
    shares = sorted(gaps["share"].unique())
    axes.set_xlim(0, 100 * (shares[-1] + shares[0]))
    axes.set_xticks([100 * share for share in shares], [share_text(share) for share in shares])
    draw_gaps(axes, series)
    for one in series:
        finite = one.finite
        finite = finite[np.isfinite(finite["relative_gap"].to_numpy(dtype=float))]
        axes.plot(finite["place"], finite["relative_gap"], color=one.color, linewidth=scaled(0.9), alpha=0.5, zorder=2)
    zero_line(axes)
    name_sides(axes, gaps, labels)
