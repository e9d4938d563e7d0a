"""Gap against the share of a trunk's steps that its branches start after: paper 1, figure 7."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.gap_series import gap_tip
from suite.analysis.figures.style import (
    SERIES_MARKERS,
    TILES_PER_ROW,
    WIDTH,
    legend_entries,
    optimizer_style,
    panel_grid,
    plot_points,
    tip,
    zero_line,
)
from suite.analysis.gap import on_edge
from suite.analysis.words import optimizer_title, pair_text, share_text

_SERIES = ["trunk", "batch_size", "reference", "challenger"]


def branches_figure(gaps: pd.DataFrame) -> Figure | None:
    """Relative gap of the branches over the trunk's share, one line per trunk, one panel per setting.

    Bars are uncertainties; open points lie on the edge of their grid; an arrow at the border stands for an infinite gap
    (every setting of one optimizer diverged).

    Args:
        gaps: see `suite.analysis.branches.branch_gaps`.

    Returns:
        The figure; None where no gap is known.
    """
    gaps = gaps[gaps["relative_gap"].notna()]
    if gaps.empty:
        return None
    panels = list(gaps["panel"].drop_duplicates())
    width = WIDTH if len(panels) > 1 else 0.7 * WIDTH
    figure, (panel_axes,) = panel_grid(len(panels), 2.9, per_row=TILES_PER_ROW, width=width, margin=0)
    names = _names(gaps)
    for axes, panel in zip(panel_axes, panels, strict=True):
        _draw(axes, gaps[gaps["panel"] == panel], names)
        axes.set_title(panel)
    challengers = list(gaps["challenger"].drop_duplicates())
    above = f"; above zero, {optimizer_title(challengers[0])} is better" if len(challengers) == 1 else ""
    panel_axes[0].set_ylabel(f"relative gap (%){above}")
    if len(set(names.values())) > 1:
        handles, labels = legend_entries(panel_axes)
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))
    return figure


def _names(gaps: pd.DataFrame) -> dict[tuple[str, int, str, str], str]:
    """Labels of the lines: the trunk, and the batch size and pair where these differ."""
    keys = list(gaps.groupby(_SERIES, sort=False).groups)
    sizes, pairs = {key[1] for key in keys}, {key[2:] for key in keys}
    names = {}
    for trunk, size, reference, challenger in keys:
        parts = [f"{optimizer_title(trunk)} trunk"]
        parts += [f"batch size {size}"] if len(sizes) > 1 else []
        parts += [pair_text(reference, challenger)] if len(pairs) > 1 else []
        names[trunk, size, reference, challenger] = ", ".join(parts)
    return names


def _draw(axes: Axes, gaps: pd.DataFrame, names: dict[tuple[str, int, str, str], str]) -> None:
    trunks = list(dict.fromkeys(key[0] for key in names))
    for key, rows in gaps.groupby(_SERIES, sort=False):
        color = optimizer_style(key[0], trunks)["color"]
        of_trunk = [other for other in names if other[0] == key[0]]
        marker = SERIES_MARKERS[of_trunk.index(key) % len(SERIES_MARKERS)]
        finite = rows[np.isfinite(rows["relative_gap"].to_numpy(dtype=float))]
        shares, values = 100 * finite["share"].to_numpy(dtype=float), finite["relative_gap"].to_numpy(dtype=float)
        bars = np.nan_to_num(finite["relative_uncertainty"].to_numpy(dtype=float))
        axes.errorbar(shares, values, yerr=bars, color=color, elinewidth=0.9, capsize=2, label=names[key])
        plot_points(axes, shares, values, on_edge(finite), color, marker=marker)
        for share, value, (_, row) in zip(shares, values, finite.iterrows(), strict=True):
            tip(axes, share, value, f"{names[key]} at {share_text(row['share'])}\n{gap_tip(row)}")
        for _, row in rows[np.isinf(rows["relative_gap"].to_numpy(dtype=float))].iterrows():
            height, arrow = (0.97, "^") if row["gap"] > 0 else (0.03, "v")
            at_border: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "linestyle": "none"}
            axes.plot(100 * row["share"], height, marker=arrow, color=color, **at_border)
    zero_line(axes)
    shares = sorted(gaps["share"].unique())
    axes.set_xlim(0, 100 * (shares[-1] + shares[0]))
    axes.set_xticks([100 * share for share in shares], [share_text(share) for share in shares])
    axes.set_xlabel("branched off after this share of the trunk")
