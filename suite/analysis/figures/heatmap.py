"""The whole grid at a glance: maps of the final loss over learning rate and momentum, and over two momenta."""

from __future__ import annotations

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

from suite.analysis.figures.sensitivity import line_axes, momentum_axes
from suite.analysis.figures.style import FAINT, WIDTH, at_left, panel_grid, short
from suite.analysis.tuned import choosing, lowest_losses, tuned_setting
from suite.analysis.words import format_value, optimizer_title
from suite.records.tuning import axes_of

COLORS = "cividis_r"
WORST_QUANTILE = 0.8
MAPS_WIDTH = 0.82 * WIDTH
_GONE = "#ececec"
LABELLED_INCHES = 0.185
"""Smallest width of a cell that has room for its number."""


def heatmap_figure(runs: pd.DataFrame, labels: Sequence[str], *, momenta: bool = False) -> Figure | None:
    """Maps over learning rate and momentum, for every optimizer (rows) and batch size (columns).

    Args:
        runs: runs of one task.
        labels: optimizers to draw, in order; those that vary fewer than two axes are left out.
        momenta: whether to draw two momenta at the best learning rate (paper 3, figures 2, 4 and 13 to 15) instead.

    Returns:
        The figure; None when no optimizer varies two axes.
    """
    axes_of_runs = momentum_axes if momenta else line_axes
    pairs = {label: axes_of_runs(runs[runs["optimizer"] == label]) for label in labels}
    return _maps_figure(runs, {label: (pair[0], pair[1]) for label, pair in pairs.items() if pair and pair[1]})


def _maps_figure(runs: pd.DataFrame, names: Mapping[str, tuple[str, str]]) -> Figure | None:
    """Draw the final loss above the lowest of its map, on the seeds that chose, with further axes at their best.

    Numbers in the cells are final losses, a frame marks the tuned point, grey a diverged setting, white one
    without a result.
    """
    if not names:
        return None
    runs = choosing(runs)
    sizes = sorted(runs["batch_size"].unique())
    values = {}
    maps = {}
    for label, pair in names.items():
        group = runs[runs["optimizer"] == label]
        axes_values = dict(axes_of(group["setting"]))
        values[label] = [axes_values[name] for name in pair]
        for size in sizes:
            maps[label, size] = _losses(group[group["batch_size"] == size], pair, values[label])
    norm = PowerNorm(0.5, 0, _worst([losses for losses, _ in maps.values()]))
    figure, panels = panel_grid(len(sizes), 1.45, rows=len(names))
    for row, (label, (x_name, y_name)) in zip(panels, names.items(), strict=True):
        x_words, y_words = (
            [short(value) if name == "lr" else format_value(value) for value in ticks]
            for name, ticks in zip((x_name, y_name), values[label], strict=True)
        )
        for axes, size in zip(row, sizes, strict=True):
            cell = MAPS_WIDTH / axes.get_gridspec().ncols / len(x_words)
            _draw(axes, *maps[label, size], norm, labelled=cell >= LABELLED_INCHES)
            axes.set_xticks(range(len(x_words)), x_words, rotation=90)
            axes.set_yticks(range(len(y_words)), y_words if at_left(axes) else [""] * len(y_words))
            axes.set_title(f"{optimizer_title(label)}, batch size {size}", fontsize=7.5)
            if at_left(axes):
                axes.set_ylabel(y_name)
            axes.set_xlabel("learning rate" if x_name == "lr" else x_name)
    bar = figure.colorbar(
        ScalarMappable(norm, COLORS),
        ax=figure.axes,
        shrink=min(0.75, 2.4 / figure.get_figheight()),
        pad=0.015,
        aspect=28,
        extend="max",
    )
    bar.set_label("loss above the lowest", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


def _losses(
    group: pd.DataFrame, names: tuple[str, str], values: Sequence[Sequence[Any]]
) -> tuple[np.ndarray, tuple[int, int] | None]:
    """The map of one optimizer at one batch size.

    Args:
        group: its runs.
        names: the axes along x and y.
        values: values of the two axes.

    Returns:
        Losses of shape ``[ys, xs]``, NaN without a result and +inf diverged; and the cell of the tuned point as
        ``(y, x)``, None where it has no finite loss.
    """
    losses = np.full((len(values[1]), len(values[0])), math.nan)
    for (x, y), loss in lowest_losses(group, names).items():
        losses[values[1].index(y), values[0].index(x)] = loss
    tuned = dict(tuned_setting(group) or ())
    if not set(names) <= set(tuned):
        return losses, None
    cell = values[1].index(tuned[names[1]]), values[0].index(tuned[names[0]])
    return losses, cell if math.isfinite(losses[cell]) else None


def _worst(maps: Sequence[np.ndarray]) -> float:
    """Where the colours end: a high quantile, so that one bad corner does not flatten the rest."""
    excess: list[float] = []
    for losses in maps:
        finite = losses[np.isfinite(losses)]
        excess.extend(finite - finite.min() if len(finite) else [])
    return max(float(np.quantile(excess, WORST_QUANTILE)), 1e-6) if excess else 1.0


def _draw(axes: Axes, losses: np.ndarray, tuned: tuple[int, int] | None, norm: PowerNorm, *, labelled: bool) -> None:
    finite = losses[np.isfinite(losses)]
    best = finite.min() if len(finite) else math.nan
    shown = np.where(np.isfinite(losses), losses - best, np.nan)
    colors = matplotlib.colormaps[COLORS]
    axes.imshow(shown, cmap=colors, norm=norm, aspect="auto", origin="lower")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=6.5)
    for (y, x), loss in np.ndenumerate(losses):
        corner = (x - 0.5, y - 0.5)
        if math.isinf(loss):
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=_GONE, linewidth=0))
            _note(axes, x, y, "div." if labelled else "", FAINT)
        elif math.isfinite(loss) and labelled:
            light = np.dot(colors(norm(loss - best))[:3], (0.2126, 0.7152, 0.0722)) > 0.5
            ink = "black" if light else "white"
            _note(axes, x, y, f"{loss:#.3g}", ink)
        if (y, x) == tuned:
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.8, zorder=3))


def _note(axes: Axes, x: float, y: float, words: str, color: str) -> None:
    written = axes.text(x, y, words, ha="center", va="center", fontsize=5, color=color)
    written.set_in_layout(False)  # there are hundreds, all inside their cells, and measuring them takes seconds
