"""The whole grid at a glance: maps of the final loss over learning rate and momentum, and over two momenta."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from suite.analysis.figures.sensitivity import axis_values, line_axes, momentum_axes
from suite.analysis.figures.style import FAINT, WIDTH, panel_grid, short
from suite.analysis.table import format_value, optimizer_title
from suite.analysis.tuned import best_setting, setting_results

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
    pairs = {}
    for label in labels:
        found = line_axes(runs[runs["optimizer"] == label])
        if found is not None and found[1] is not None:
            pairs[label] = (found[0], found[1])
    return _maps_figure(runs, pairs)


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
    runs = runs[~runs["reporting"]]
    sizes = sorted(runs["batch_size"].unique())
    owns = {label: runs[runs["optimizer"] == label] for label in names}
    values = {label: (axis_values(owns[label], x), axis_values(owns[label], y)) for label, (x, y) in names.items()}
    maps = {
        (label, size): _loss_map(owns[label][owns[label]["batch_size"] == size], pair, *values[label])
        for label, pair in names.items()
        for size in sizes
    }
    norm = PowerNorm(0.5, 0, _worst([losses for losses, _ in maps.values()]))
    figure, axes, columns = panel_grid(len(sizes), len(names), height=1.45, sharex=False, sharey=False)
    for row, (label, pair) in enumerate(names.items()):
        for panel, size in enumerate(sizes):
            place = axes[panel // columns * len(names) + row, panel % columns]
            losses, tuned = maps[label, size]
            cell = MAPS_WIDTH / columns / losses.shape[1]
            x_words, y_words = (
                [short(value) if name == "lr" else format_value(value) for value in own]
                for name, own in zip(pair, values[label], strict=True)
            )
            _draw(place, losses, tuned, x_words, y_words, norm, labelled=cell >= LABELLED_INCHES)
            place.set_title(f"{optimizer_title(label)}, batch size {size}", fontsize=7.5)
            if panel % columns == 0:
                place.set_ylabel(pair[1])
            else:
                place.set_yticklabels([])
            place.set_xlabel("learning rate" if pair[0] == "lr" else pair[0])
    bar = figure.colorbar(
        ScalarMappable(norm, COLORS),
        ax=axes,
        shrink=min(0.75, 2.4 / figure.get_figheight()),
        pad=0.015,
        aspect=28,
        extend="max",
    )
    bar.set_label("loss above the lowest", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


def _loss_map(
    group: pd.DataFrame, pair: tuple[str, str], x_values: Sequence[float], y_values: Sequence[float]
) -> tuple[np.ndarray, tuple[int, int] | None]:
    """The map, shape ``[ys, xs]``, NaN without a result and +inf diverged; and the tuned point's cell in it."""
    losses = np.full((len(y_values), len(x_values)), math.nan)
    cells = {}
    results = setting_results(group)
    for result in results:
        chosen = dict(result.setting)
        if all(name in chosen for name in pair):
            cell = y_values.index(chosen[pair[1]]), x_values.index(chosen[pair[0]])
            losses[cell] = np.fmin(losses[cell], result.loss)
            cells[result.setting] = cell
    best = best_setting(results) if results else None
    return losses, cells.get(best.setting) if best is not None and math.isfinite(best.loss) else None


def _worst(maps: Sequence[np.ndarray]) -> float:
    """Where the colours end: a high quantile, so that one bad corner does not flatten the rest."""
    excess: list[float] = []
    for losses in maps:
        finite = losses[np.isfinite(losses)]
        excess.extend(finite - finite.min() if len(finite) else [])
    return max(float(np.quantile(excess, WORST_QUANTILE)), 1e-6) if excess else 1.0


def _draw(
    axes: Axes,
    losses: np.ndarray,
    tuned: tuple[int, int] | None,
    x_words: Sequence[str],
    y_words: Sequence[str],
    norm: PowerNorm,
    *,
    labelled: bool,
) -> None:
    finite = losses[np.isfinite(losses)]
    best = finite.min() if len(finite) else math.nan
    shown = np.where(np.isfinite(losses), losses - best, np.nan)
    colors = matplotlib.colormaps[COLORS]
    axes.imshow(shown, cmap=colors, norm=norm, aspect="auto", origin="lower")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=6.5)
    axes.set_xticks(range(len(x_words)), x_words, rotation=90)
    axes.set_yticks(range(len(y_words)), y_words)
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
    written.set_in_layout(False)  # hundreds of these, all inside their cells: measuring them takes seconds
