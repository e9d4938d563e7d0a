"""The whole grid at a glance: maps of the final loss over learning rate and momentum, and over two momenta."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from suite.analysis.tuned import choosing, setting_results, tuned_setting
from suite.analysis.words import format_value, optimizer_title
from suite.records.tuning import axes_of

COLORS = "cividis_r"
WORST_QUANTILE = 0.8
MAPS_WIDTH = 0.82 * WIDTH
_GONE = "#ececec"
LABELLED_INCHES = 0.185
"""Width of a cell from which on it has room for its number."""


def heatmap_figure(runs: pd.DataFrame, labels: Sequence[str]) -> Figure | None:
    """Maps over learning rate and momentum, for every optimizer (rows) and batch size (columns).

    Args:
        runs: runs of one task.
        labels: optimizers to draw, in order; those that vary fewer than two axes are left out.

    Returns:
        The figure; None when no optimizer varies two axes.
    """
    pairs = {label: line_axes(runs[runs["optimizer"] == label]) for label in labels}
    return _maps_figure(runs, {label: (pair[0], pair[1]) for label, pair in pairs.items() if pair and pair[1]})


def momenta_figure(runs: pd.DataFrame, labels: Sequence[str]) -> Figure | None:
    """Maps over two momenta at the best learning rate (paper 3, figures 2, 4 and 13 to 15).

    Args:
        runs: runs of one task.
        labels: optimizers to draw, in order; those that do not vary two momenta are left out.

    Returns:
        The figure; None when no optimizer varies two momenta.
    """
    pairs = {label: momentum_axes(runs[runs["optimizer"] == label]) for label in labels}
    return _maps_figure(runs, {label: pair for label, pair in pairs.items() if pair is not None})


def _maps_figure(runs: pd.DataFrame, names: Mapping[str, tuple[str, str]]) -> Figure | None:
    """Excess of the final loss over the lowest of its map, on the seeds that chose, at the best of any further axes.

    Numbers in the cells are final losses, a frame marks the tuned point, grey a diverged setting, white one
    without a result.
    """
    if not names:
        return None
    runs = choosing(runs)
    sizes = sorted(runs["batch_size"].unique())
    maps: dict[tuple[str, int], _Map] = {}
    for label, pair in names.items():
        group = runs[runs["optimizer"] == label]
        axes_values = dict(axes_of(group["setting"]))
        for size in sizes:
            maps[label, size] = _map(group[group["batch_size"] == size], pair, [axes_values[name] for name in pair])
    norm = PowerNorm(0.5, 0, _worst([drawn.losses for drawn in maps.values()]))
    figure, panels = panel_grid(len(sizes), 1.45, rows=len(names))
    for row, (label, (x_name, y_name)) in zip(panels, names.items(), strict=True):
        for axes, size in zip(row, sizes, strict=True):
            drawn = maps[label, size]
            cell = MAPS_WIDTH / axes.get_gridspec().ncols / drawn.losses.shape[1]
            _draw(axes, drawn, norm, labelled=cell >= LABELLED_INCHES)
            axes.set_title(f"{optimizer_title(label)}, batch size {size}", fontsize=7.5)
            if at_left(axes):
                axes.set_ylabel(y_name)
            else:
                axes.set_yticklabels([])
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


@dataclass(frozen=True)
class _Map:
    """One map.

    Attributes:
        losses: shape ``[ys, xs]``, NaN without a result and +inf diverged.
        tuned: cell of the tuned point, as ``(y, x)``; None where it has no finite loss.
        x_words: tick labels.
        y_words: tick labels.
    """

    losses: np.ndarray
    tuned: tuple[int, int] | None
    x_words: list[str]
    y_words: list[str]


def _map(group: pd.DataFrame, pair: tuple[str, str], values: Sequence[list[float]]) -> _Map:
    """The map of one optimizer at one batch size, over the values of two axes."""
    x_values, y_values = values
    losses = np.full((len(y_values), len(x_values)), math.nan)
    cells = {}
    for result in setting_results(group):
        chosen = dict(result.setting)
        if all(name in chosen for name in pair):
            cell = y_values.index(chosen[pair[1]]), x_values.index(chosen[pair[0]])
            losses[cell] = np.fmin(losses[cell], result.loss)
            cells[result.setting] = cell
    tuned = cells.get(tuned_setting(group) or ())
    x_words, y_words = (
        [short(value) if name == "lr" else format_value(value) for value in ticks]
        for name, ticks in zip(pair, values, strict=True)
    )
    return _Map(losses, tuned if tuned is not None and math.isfinite(losses[tuned]) else None, x_words, y_words)


def _worst(maps: Sequence[np.ndarray]) -> float:
    """Where the colours end: a high quantile, so that one bad corner does not flatten the rest."""
    excess: list[float] = []
    for losses in maps:
        finite = losses[np.isfinite(losses)]
        excess.extend(finite - finite.min() if len(finite) else [])
    return max(float(np.quantile(excess, WORST_QUANTILE)), 1e-6) if excess else 1.0


def _draw(axes: Axes, drawn: _Map, norm: PowerNorm, *, labelled: bool) -> None:
    losses = drawn.losses
    finite = losses[np.isfinite(losses)]
    best = finite.min() if len(finite) else math.nan
    shown = np.where(np.isfinite(losses), losses - best, np.nan)
    colors = matplotlib.colormaps[COLORS]
    axes.imshow(shown, cmap=colors, norm=norm, aspect="auto", origin="lower")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=6.5)
    axes.set_xticks(range(len(drawn.x_words)), drawn.x_words, rotation=90)
    axes.set_yticks(range(len(drawn.y_words)), drawn.y_words)
    for (y, x), loss in np.ndenumerate(losses):
        corner = (x - 0.5, y - 0.5)
        if math.isinf(loss):
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=_GONE, linewidth=0))
            _note(axes, x, y, "div." if labelled else "", FAINT)
        elif math.isfinite(loss) and labelled:
            light = np.dot(colors(norm(loss - best))[:3], (0.2126, 0.7152, 0.0722)) > 0.5
            ink = "black" if light else "white"
            _note(axes, x, y, f"{loss:#.3g}", ink)
        if (y, x) == drawn.tuned:
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.8, zorder=3))


def _note(axes: Axes, x: float, y: float, words: str, color: str) -> None:
    written = axes.text(x, y, words, ha="center", va="center", fontsize=5, color=color)
    written.set_in_layout(False)  # hundreds of these, all inside their cells: measuring them takes seconds
