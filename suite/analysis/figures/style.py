"""What all figures share: colours, markers, type sizes, the batch-size axis, and how a figure is saved."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from suite.analysis.words import format_value
from suite.fields import escaped
from suite.records.files import write_atomically, write_text_atomically

WIDTH = 7.2
"""Width of a figure in inches: the text width of a two-column journal page."""

PANELS_PER_ROW = 5
TILES_PER_ROW = 3
INK, FAINT, GRID = "#222222", "#6b6b6b", "#e3e3e3"

# Okabe and Ito's palette stays apart under all common colour-vision deficiencies; yellow is left out (too
# light on white). Each optimizer also has its own marker and line style, so that grey prints lose nothing.
_FIXED = {"adam": ("#0072B2", "o", "-"), "sgd": ("#D55E00", "s", (0, (5, 1.5)))}
_SPARE_COLORS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A")
_SPARE_MARKERS = "D^vPX*<>ph"
_SPARE_LINES = ("-.", ":", (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
SERIES_MARKERS = "osD^vPX*"
SERIES_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A")
"""Colours of series that are no optimizers: the whole palette, in a fixed order."""

_TIP = "tip: "

_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # the default height, set so that it is not computed at every drawing
    "axes.labelsize": 8,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "text.color": INK,
    "text.parse_math": False,
    "hatch.linewidth": 0.5,
    "hatch.color": FAINT,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "adam-sgd-gap",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw with the suite's type sizes and lines, and leave matplotlib's settings as they were."""
    with matplotlib.rc_context(_RC):
        yield


def optimizer_style(label: str, labels: Sequence[str]) -> dict[str, Any]:
    """Colour, marker and line style of an optimizer: fixed for Adam and SGD, else by its position in the sweep.

    Colours repeat after six optimizers, with other markers and lines, so that thirty optimizers look different.
    """
    if label in _FIXED:
        return dict(zip(("color", "marker", "linestyle"), _FIXED[label], strict=True))
    number = [name for name in labels if name not in _FIXED].index(label)
    kinds = {"color": _SPARE_COLORS, "marker": _SPARE_MARKERS, "linestyle": _SPARE_LINES}
    return {key: kind[number % len(kind)] for key, kind in kinds.items()}


def legend_above(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """A legend over all panels, in as many columns as the figure is wide for."""
    inches = [0.57 + 0.062 * len(name) for name in names] or [1.0]
    fits_in_a_row = sum(inches) <= figure.get_figwidth()
    columns = len(inches) if fits_in_a_row else int(figure.get_figwidth() / max(inches))
    figure.legend(handles, names, loc="outside upper left", ncols=max(1, columns))


def shades(color: str, count: int) -> list[tuple[float, float, float]]:
    """Shades of one hue from light to dark, so that the order is visible in grey prints too."""
    base, mixes = np.array(to_rgb(color)), np.linspace(0.62, -0.5, count) if count > 1 else np.array([0.0])
    return [tuple(base + (1 - base) * mix if mix >= 0 else base * (1 + mix)) for mix in mixes]


def panel_grid(
    count: int,
    height: float,
    *,
    rows: int = 1,
    per_row: int = PANELS_PER_ROW,
    width: float | None = None,
    margin: float = 0.35,
    **shared: Any,
) -> tuple[Figure, np.ndarray]:
    """An empty figure of panels side by side, wrapped where they do not fit beside each other; sizes are in inches.

    Args:
        count: number of panels side by side.
        height: height of a row.
        rows: number of rows of panels.
        per_row: how many panels stand side by side at most.
        width: width of the figure; by default `WIDTH`, and less for one or two panels.
        margin: added to the rows' heights.
        shared: ``sharex`` and ``sharey``, see `Figure.subplots`.

    Returns:
        The figure, and its axes of shape ``[rows, count]``.
    """
    columns = min(max(count, 1), per_row)
    blocks = -(-max(count, 1) // columns)
    width = width or (WIDTH if columns > 2 else WIDTH * (0.5 + 0.2 * columns))
    figure = Figure(figsize=(width, height * blocks * rows + margin))
    axes = figure.subplots(blocks * rows, columns, squeeze=False, **shared)
    axes = axes.reshape(blocks, rows, columns).swapaxes(0, 1).reshape(rows, -1)
    for unused in axes[:, count:].flat:
        unused.set_axis_off()
    return figure, axes[:, :count]


def at_left(axes: Axes) -> bool:
    """Whether a panel stands at the left of the figure, where the y-axis is labelled."""
    cell = axes.get_subplotspec()
    return cell is None or cell.is_first_col()


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


def note(axes: Axes, words: str, at: tuple[float, float], offset: tuple[float, float], **looks: Any) -> None:
    """Write words beside a point, at an offset in printer's points; ``looks`` go to `Axes.annotate`."""
    axes.annotate(words, at, offset, textcoords="offset points", **{"fontsize": 7.5, **looks})


def zero_line(axes: Axes) -> None:
    """Draw the line of zero gap: above it the challenger is better."""
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1.5)


def plot_points(axes: Axes, x: np.ndarray, y: np.ndarray, is_open: np.ndarray, color: str, **looks: Any) -> None:
    """Draw points, the open ones with a white face; ``looks`` go to `Axes.plot`."""
    for chosen, face in ((~is_open, color), (is_open, "white")):
        axes.plot(x[chosen], y[chosen], linestyle="none", color=color, markerfacecolor=face, zorder=3, **looks)


def fixed_ticks(axis: Axis, ticks: Sequence[float], write: Callable[[float], str]) -> None:
    """Label an axis only at some values, as ``write`` writes them."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def batch_size_axis(axes: Axes, sizes: Iterable[int], *, octaves: float = 1.0) -> None:
    """Make a log2 x-axis with the measured batch sizes as plain numbers and ``octaves`` of room on each side."""
    ticks = sorted(set(sizes))
    axes.set_xscale("log", base=2)
    axes.set_xlim(ticks[0] / 2**octaves, ticks[-1] * 2**octaves)
    fixed_ticks(axes.xaxis, ticks, "{:.0f}".format)
    crowded = len(ticks) > 12 or sum(len(str(tick)) for tick in ticks) > 30
    axes.tick_params(axis="x", labelrotation=45 if crowded else 0)
    axes.set_xlabel("batch size")


def decade_axis(axis: Axis, values: Iterable[float]) -> None:
    """Label a logarithmic axis at powers of ten, or at its values where there are fewer than two powers."""
    shown = sorted(set(values))
    first, last = math.ceil(math.log10(shown[0] / 1.7)), math.floor(math.log10(shown[-1] * 1.7))
    decades = [10.0**power for power in range(first, last + 1)]
    every = -(-len(decades) // 5)
    if len(decades) > 1:
        fixed_ticks(axis, decades[::every], _power)
    else:
        fixed_ticks(axis, shown, format_value)


def beside(number: int, count: int) -> float:
    """Octaves by which one of ``count`` series stands beside its batch size, so that their points stay apart."""
    return min(0.1, 0.8 / count) * (number - (count - 1) / 2)


def signed_axis(axes: Axes, values: Iterable[float]) -> None:
    """Make the y-axis logarithmic on both sides of zero where some values are 50 times as large as the median."""
    sizes = np.abs([value for value in values if math.isfinite(value) and value != 0])
    if not len(sizes) or sizes.max() < 50 * np.median(sizes):
        return
    linear = 10.0 ** math.floor(math.log10(np.median(sizes)))
    axes.set_yscale("symlog", linthresh=linear)
    decades = [linear * 10**power for power in range(math.floor(math.log10(sizes.max() / linear)) + 1)]
    shown = decades[:: -(-len(decades) // 3)]
    ticks = [*(-value for value in shown), 0, *shown]
    fixed_ticks(axes.yaxis, ticks, lambda value: f"{value:g}".replace("-", "\N{MINUS SIGN}"))


def short(value: Any) -> str:
    """A learning rate as a tick label: two digits."""
    rounded = isinstance(value, (int, float)) and value < 100
    return format_value(float(f"{value:.2g}") if rounded else value)


def _power(value: float) -> str:
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def tip(axes: Axes, x: float, y: float, words: str) -> None:
    """Words that a browser shows while the pointer is at a point of the SVG; the PNG is unchanged."""
    marked = axes.plot([x], [y], linestyle="none", marker="o", markersize=13, alpha=0.0, zorder=6)[0]
    marked.set_gid(_TIP + words.replace("\n", " / "))


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as PNG (200 dots per inch) and SVG, in which points have the words of `tip`.

    Returns:
        The two paths.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    for words in figure.findobj(Text):
        words.set_text("\n".join(map(escaped, words.get_text().split("\n"))))
    # Both files have the layout that is computed at the resolution of the PNG, whose letters are wider. Each canvas
    # draws once; `savefig` would draw twice, once to compute a layout.
    usual = figure.dpi
    figure.dpi = 200
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    agg = FigureCanvasAgg(figure)
    write_atomically(png, lambda temporary: agg.print_png(temporary, metadata={"Software": None}))
    figure.dpi = usual
    drawn = io.StringIO()
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": None})
    write_text_atomically(svg, re.sub(f'<g id="{_TIP}([^"]*)">', _titled, drawn.getvalue()))
    return png, svg


def _titled(tip: re.Match[str]) -> str:
    return f"<g><title>{tip[1].replace(' / ', chr(10))}</title>"
