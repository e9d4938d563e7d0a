"""Gap against the share of a trunk's steps that its branches start after: paper 1, figure 7."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.branches import share_text
from suite.analysis.figures.gap import gap_tip
from suite.analysis.figures.style import INK, SERIES_MARKERS, WIDTH, optimizer_style, tip
from suite.analysis.gap import on_edge
from suite.analysis.table import optimizer_title

_COLUMNS = 3


def branches_figure(gaps: pd.DataFrame) -> Figure | None:
    """Relative gap of the branches over the trunk's share, one line per trunk, one panel per setting.

    Bars are uncertainties; open points lie on the edge of their grid; an arrow at the border stands for an infinite gap
    (every setting of one optimizer diverged).

    Args:
        gaps: see `suite.analysis.branches.branch_gaps`.

    Returns:
        The figure; None where no gap is known.
    """
    known = gaps[gaps["relative_gap"].notna()]
    if known.empty:
        return None
    panels = list(known["panel"].drop_duplicates())
    columns = min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH if columns > 1 else 0.7 * WIDTH, 2.9 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    names = _names(known)
    for place, panel in enumerate(panels):
        _draw(axes[place], known[known["panel"] == panel], names)
        axes[place].set_title(panel)
    for unused in axes[len(panels) :]:
        unused.set_axis_off()
    challengers = list(known["challenger"].drop_duplicates())
    above = f"; above zero, {optimizer_title(challengers[0])} is better" if len(challengers) == 1 else ""
    axes[0].set_ylabel(f"relative gap (%){above}")
    if len(set(names.values())) > 1:
        shown: dict[str, Artist] = {}
        for part in axes[: len(panels)]:
            shown |= {label: handle for handle, label in zip(*part.get_legend_handles_labels(), strict=True)}
        figure.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=min(4, len(shown)))
    return figure


_SERIES = ["trunk", "batch_size", "reference", "challenger"]


def _names(gaps: pd.DataFrame) -> dict[tuple[str, int, str, str], str]:
    """What tells the lines of a panel apart."""
    keys = list(gaps.groupby(_SERIES, sort=False).groups)
    sizes, pairs = {key[1] for key in keys}, {key[2:] for key in keys}
    names = {}
    for trunk, size, reference, challenger in keys:
        parts = [f"{optimizer_title(trunk)} trunk"]
        parts += [f"batch size {size}"] if len(sizes) > 1 else []
        parts += [f"{optimizer_title(challenger)} against {optimizer_title(reference)}"] if len(pairs) > 1 else []
        names[trunk, size, reference, challenger] = ", ".join(parts)
    return names


def _draw(axes: Axes, gaps: pd.DataFrame, names: dict[tuple[str, int, str, str], str]) -> None:
    trunks = list(dict.fromkeys(key[0] for key in names))
    places = {key: [other for other in names if other[0] == key[0]].index(key) for key in names}
    for key, rows in gaps.groupby(_SERIES, sort=False):
        color = optimizer_style(key[0], trunks)["color"]
        marker = SERIES_MARKERS[places[key] % len(SERIES_MARKERS)]
        finite = rows[np.isfinite(rows["relative_gap"].to_numpy(dtype=float))]
        shares, values = 100 * finite["share"].to_numpy(dtype=float), finite["relative_gap"].to_numpy(dtype=float)
        bars = np.nan_to_num(finite["relative_uncertainty"].to_numpy(dtype=float))
        axes.errorbar(shares, values, yerr=bars, color=color, elinewidth=0.9, capsize=2, label=names[key])
        edges = on_edge(finite)
        for chosen, face in ((~edges, color), (edges, "white")):
            axes.plot(
                shares[chosen],
                values[chosen],
                linestyle="none",
                marker=marker,
                color=color,
                markerfacecolor=face,
                zorder=3,
            )
        for share, value, (_, row) in zip(shares, values, finite.iterrows(), strict=True):
            tip(axes, share, value, f"{names[key]} at {share_text(row['share'])}\n{gap_tip(row)}")
        for _, row in rows[np.isinf(rows["relative_gap"].to_numpy(dtype=float))].iterrows():
            above = row["gap"] > 0
            axes.plot(
                100 * row["share"], 0.97 if above else 0.03, transform=axes.get_xaxis_transform(),
                marker="^" if above else "v", color=color, linestyle="none",
            )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1.5)
    shares = sorted(gaps["share"].unique())
    axes.set_xlim(0, 100 * (shares[-1] + shares[0]))
    axes.set_xticks([100 * share for share in shares], [share_text(share) for share in shares])
    axes.set_xlabel("branched off after this share of the trunk")
