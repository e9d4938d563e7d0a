"""The whole grid at a glance: maps of the final loss over learning rate and momentum, and over two momenta."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from suite.analysis.figures.layout import at_left, label_bottoms, panel_ems, panel_grid, panel_title
from suite.analysis.figures.scales import short
from suite.analysis.figures.sensitivity import line_axes, momentum_axes
from suite.analysis.figures.style import FAINT, em, explain, scaled
from suite.analysis.tuned import choosing, lowest_losses, tuned_setting
from suite.analysis.words import format_value, setting_title

COLORS = "cividis_r"
WORST_QUANTILE = 0.8
_GONE = "#ececec"
_LABELLED_EMS = 2.0
"""Smallest width of a cell that has room for its number."""

_FILLED = 0.5
"""Share of a map's cells that have a result at least: rows and columns with single results are left out before."""


@dataclasses.dataclass(frozen=True)
class _Map:
    """The losses of one optimizer at one batch size over two axes of its grid.

    Attributes:
        values: of the two axes, those along x first.
        losses: shape ``[ys, xs]``, NaN without a result and +inf diverged.
        tuned: cell of the tuned point as ``(y, x)``; None where it has no finite loss.
        left_out: how many results lie in rows and columns that are not shown.
    """

    values: tuple[list[Any], list[Any]]
    losses: np.ndarray
    tuned: tuple[int, int] | None
    left_out: int


def heatmap_figure(runs: pd.DataFrame, labels: Sequence[str], *, momenta: bool = False) -> Figure | None:
    """Maps over learning rate and momentum, for every optimizer (rows) and batch size (columns).

    Numbers in the cells are final losses on the seeds that chose, with further axes at their best; a frame marks the
    tuned point, grey a diverged setting, white one without a result. Every map has the values of its own grid.

    Args:
        runs: runs of one task.
        labels: optimizers to draw, in order; those that vary fewer than two axes are left out.
        momenta: whether to draw two momenta at the best learning rate (paper 3, figures 2, 4 and 13 to 15) instead.

    Returns:
        The figure; None when no optimizer varies two axes.
    """
    axes_of_runs = momentum_axes if momenta else line_axes
    varied = {label: axes_of_runs(runs[runs["optimizer"] == label]) for label in labels}
    pairs = {label: (pair[0], pair[1]) for label, pair in varied.items() if pair and pair[1]}
    if not pairs:
        return None
    runs = choosing(runs)
    sizes = sorted(runs["batch_size"].unique())
    maps = {
        (label, size): _map(runs[(runs["optimizer"] == label) & (runs["batch_size"] == size)], pair)
        for label, pair in pairs.items()
        for size in sizes
    }
    return _draw_maps(maps, pairs, sizes)


def _draw_maps(
    maps: Mapping[tuple[str, int], _Map], pairs: Mapping[str, tuple[str, str]], sizes: Sequence[int]
) -> Figure:
    norm = PowerNorm(0.5, 0, _worst([shown.losses for shown in maps.values()]))
    figure, panels = panel_grid(len(sizes), height=12.5, narrowest=9, rows=len(pairs))
    for row, (label, names) in zip(panels, pairs.items(), strict=True):
        for axes, size in zip(row, sizes, strict=True):
            shown = maps[label, size]
            if not shown.losses.size:
                axes.set_axis_off()
                continue
            _draw(axes, shown, norm)
            words = [
                [short(value) if name == "lr" else format_value(value) for value in ticks]
                for name, ticks in zip(names, shown.values, strict=True)
            ]
            axes.set_xticks(range(len(words[0])), words[0], rotation=90)
            axes.set_yticks(range(len(words[1])), words[1])
            panel_title(axes, label, size)
            if at_left(axes):
                axes.set_ylabel(setting_title(names[1]), fontsize=scaled(8))
    along = list(dict.fromkeys(names[0] for names in pairs.values()))
    for row, names in zip(panels, pairs.values(), strict=True):
        label_bottoms(panels.flat if len(along) == 1 else row, setting_title(names[0]))
    shrink = min(0.75, 24 * em() / figure.get_figheight())
    bar = figure.colorbar(
        ScalarMappable(norm, COLORS), ax=figure.axes, shrink=shrink, pad=0.015, aspect=28, extend="max"
    )
    bar.set_label("loss above the lowest of the map")
    bar.outline.set_visible(False)
    explain(panels[0, 0], "Colour: loss above the lowest of the map.")
    _explain(panels[0, 0], list(maps.values()))
    return figure


def _explain(axes: Axes, maps: Sequence[_Map]) -> None:
    """What is seen in the maps, and nothing else."""
    if any(shown.tuned for shown in maps):
        explain(axes, "Frame: tuned point.")
    if any(np.isinf(shown.losses).any() for shown in maps):
        explain(axes, "Grey: diverged.")
    if any(np.isnan(shown.losses).any() for shown in maps):
        explain(axes, "White: no result.")
    if left_out := sum(shown.left_out for shown in maps):
        results = "result lies" if left_out == 1 else "results lie"
        explain(axes, f"{left_out} {results} past the grids, where they were followed along one axis alone; not shown.")
    lucky = [shown for shown in maps if shown.tuned and shown.losses[shown.tuned] > np.nanmin(shown.losses)]
    if lucky:
        explain(axes, "A framed cell that is not the lowest of its map won on more seeds.")


def _map(group: pd.DataFrame, names: tuple[str, str]) -> _Map:
    """The map of one optimizer at one batch size; empty where its grid there lacks an axis."""
    losses = lowest_losses(group, names)
    values = [sorted({spot[axis] for spot in losses}) for axis in (0, 1)]
    tuned = dict(tuned_setting(group) or ())
    best = tuple(tuned.get(name) for name in names)
    left_out = 0
    while losses and len(losses) < _FILLED * math.prod(map(len, values)):
        sparse = _sparsest(losses, values, best)
        if sparse is None:
            break
        axis, value = sparse
        left_out += sum(spot[axis] == value for spot in losses)
        losses = {spot: loss for spot, loss in losses.items() if spot[axis] != value}
        values = [sorted({spot[axis] for spot in losses}) for axis in (0, 1)]
    table = np.full((len(values[1]), len(values[0])), math.nan)
    for (x, y), loss in losses.items():
        table[values[1].index(y), values[0].index(x)] = loss
    framed = None
    if best in losses and math.isfinite(losses[best]):
        framed = (values[1].index(best[1]), values[0].index(best[0]))
    return _Map((values[0], values[1]), table, framed, left_out)


def _sparsest(
    losses: Mapping[tuple[Any, ...], float], values: Sequence[Sequence[Any]], best: tuple[Any, ...]
) -> tuple[int, Any] | None:
    """The axis and value with the fewest results, the tuned point's own left aside; None where there is none."""
    counts = [
        (sum(spot[axis] == value for spot in losses), axis, number, value)
        for axis, ticks in enumerate(values)
        for number, value in enumerate(ticks)
        if value != best[axis]
    ]
    return (lambda least: (least[1], least[3]))(min(counts, key=lambda count: count[:3])) if counts else None


def _worst(maps: Sequence[np.ndarray]) -> float:
    """Where the colours end: a high quantile, so that one bad corner does not flatten the rest."""
    excess: list[float] = []
    for losses in maps:
        finite = losses[np.isfinite(losses)]
        excess.extend(finite - finite.min() if len(finite) else [])
    return max(float(np.quantile(excess, WORST_QUANTILE)), 1e-6) if excess else 1.0


def _draw(axes: Axes, shown: _Map, norm: PowerNorm) -> None:
    losses = shown.losses
    finite = losses[np.isfinite(losses)]
    best = finite.min() if len(finite) else math.nan
    colors = matplotlib.colormaps[COLORS]
    excess = np.where(np.isfinite(losses), losses - best, np.nan)
    axes.imshow(excess, cmap=colors, norm=norm, aspect="auto", origin="lower")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=scaled(7))
    labelled = panel_ems(axes) * 0.85 / losses.shape[1] >= _LABELLED_EMS
    for (y, x), loss in np.ndenumerate(losses):
        corner = (x - 0.5, y - 0.5)
        if math.isinf(loss):
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=_GONE, linewidth=0))
            _note(axes, x, y, "div." if labelled else "", FAINT)
        elif math.isfinite(loss) and labelled:
            light = np.dot(colors(norm(loss - best))[:3], (0.2126, 0.7152, 0.0722)) > 0.5
            _note(axes, x, y, f"{loss:#.3g}", "black" if light else "white")
        if (y, x) == shown.tuned:
            frame = Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=scaled(1.8), zorder=3)
            axes.add_patch(frame)
            frame.set_clip_on(False)


def _note(axes: Axes, x: float, y: float, words: str, color: str) -> None:
    written = axes.text(x, y, words, ha="center", va="center", fontsize=scaled(6.5), color=color)
    written.set_in_layout(False)  # there are hundreds, all inside their cells, and measuring them takes seconds
