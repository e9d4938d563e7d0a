"""Where panels and legends stand: panels wrap where they do not fit beside each other, legends lie off the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.figures.style import Captioned, em, look, scaled
from suite.analysis.words import optimizer_title


def panel_grid(
    count: int, *, height: float, narrowest: float, rows: int = 1, margin: float = 2.0, alone: float = 28, **shared: Any
) -> tuple[Captioned, np.ndarray]:
    """An empty figure of panels side by side, wrapped where they do not fit beside each other; sizes are in ems.

    Args:
        count: number of panels side by side.
        height: height of a row.
        narrowest: width below which a panel is not read any more.
        rows: number of rows of panels.
        margin: added to the rows' heights.
        alone: largest width of a single panel.
        shared: ``sharex`` and ``sharey``, see `Figure.subplots`.

    Returns:
        The figure, and its axes of shape ``[rows, count]``.
    """
    count = max(count, 1)
    wide = look().width / em()
    blocks = -(-count // max(1, int(wide / narrowest)))
    columns = -(-count // blocks)
    width = min(wide, alone * columns + 4)
    figure = Captioned(height * blocks * rows + margin, width=width)
    axes = figure.subplots(blocks * rows, columns, squeeze=False, **shared)
    axes = axes.reshape(blocks, rows, columns).swapaxes(0, 1).reshape(rows, -1)
    for unused in axes[:, count:].flat:
        unused.set_axis_off()
    return figure, axes[:, :count]


def at_left(axes: Axes) -> bool:
    """Whether a panel stands at the left of the figure, where the y-axis is labelled."""
    cell = axes.get_subplotspec()
    return cell is None or cell.is_first_col()


def label_bottoms(panels: Iterable[Axes], words: str) -> None:
    """Label the x-axis of the panels that no other panel stands below."""
    columns: dict[int, tuple[int, Axes]] = {}
    for axes in panels:
        cell = axes.get_subplotspec()
        if cell is not None and cell.rowspan.start >= columns.get(cell.colspan.start, (-1, axes))[0]:
            columns[cell.colspan.start] = cell.rowspan.start, axes
    for _, axes in columns.values():
        axes.set_xlabel(words)


def panel_title(axes: Axes, label: str, size: int) -> None:
    """Title a panel by an optimizer and a batch size, on two lines where one is too short."""
    name, rest = optimizer_title(label), f"batch size {size}"
    fits = 0.5 * len(f"{name}, {rest}") <= panel_ems(axes)
    axes.set_title(f"{name}, {rest}" if fits else f"{name},\n{rest}", fontsize=scaled(8))


def panel_ems(axes: Axes) -> float:
    """About how wide a panel is inside, in ems, before the layout is known."""
    cell = axes.get_subplotspec()
    columns = 1 if cell is None else cell.get_gridspec().ncols
    figure = axes.get_figure(root=True)
    assert figure is not None
    return max(3.0, figure.get_figwidth() / em() / columns - (4.5 if at_left(axes) else 2.5))


def same_limits(panels: Sequence[Axes]) -> tuple[float, float]:
    """Give panels the same y-axis, labelled at the left; returns its ends."""
    ends = [axes.get_ylim() for axes in panels]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    for axes in panels:
        axes.set_ylim(low, high)
        if not at_left(axes):
            axes.tick_params(axis="y", labelleft=False)
    return low, high


def legend_entries(axes: Iterable[Axes]) -> tuple[list[Artist], list[str]]:
    """Handles and names of the legend of several panels, every name once."""
    entries: dict[str, Artist] = {}
    for panel in axes:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    return list(entries.values()), list(entries)


def legend_above(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """A legend over all panels, in as many columns as the figure is wide for, which makes the figure higher."""
    if not names:
        return
    ems = [5.0 + 0.56 * len(name) for name in names]
    wide = figure.get_figwidth() / em()
    columns = len(ems) if sum(ems) <= wide else max(1, int(wide / max(ems)))
    figure.legend(handles, names, loc="outside upper left", ncols=columns)
    lines = -(-len(names) // columns)
    figure.set_figheight(figure.get_figheight() + (1.35 * lines + 0.6) * em())
