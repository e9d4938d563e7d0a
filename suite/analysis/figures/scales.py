"""Axes: batch sizes, decades, gaps of both signs, each labelled at a few plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from suite.analysis.figures.layout import panel_ems
from suite.analysis.figures.style import INK, look, scaled
from suite.analysis.words import format_value

_MINUS = "\N{MINUS SIGN}"


def fixed_ticks(
    axis: Axis, ticks: Sequence[float], write: Callable[[float], str], unlabelled: Sequence[float] = ()
) -> None:
    """Label an axis only at some values, as ``write`` writes them."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_locator(FixedLocator(unlabelled) if len(unlabelled) else NullLocator())
    axis.set_minor_formatter(NullFormatter())


def batch_size_axis(axes: Axes, sizes: Iterable[int], *, octaves: float = 0.8) -> None:
    """An x-axis with a tick at every measured batch size, as many of them labelled as have room.

    Args:
        axes: the panel.
        sizes: measured batch sizes.
        octaves: room on each side.
    """
    ticks = sorted({int(size) for size in sizes})
    if look().batch_scale == "log":
        axes.set_xscale("log", base=2)
        axes.set_xlim(ticks[0] / 2**octaves, ticks[-1] * 2**octaves)
        places = [math.log2(tick) for tick in ticks]
        reach = places[-1] - places[0] + 2 * octaves
    else:
        room = 0.08 * (ticks[-1] - ticks[0]) or 0.5 * ticks[0]
        axes.set_xlim(ticks[0] - room, ticks[-1] + room)
        places = [float(tick) for tick in ticks]
        reach = ticks[-1] - ticks[0] + 2 * room
    per_em = reach / panel_ems(axes)
    labelled: list[int] = []
    for tick, position in zip(ticks, places, strict=True):
        last = places[ticks.index(labelled[-1])] if labelled else -math.inf
        ems = 0.3 * (len(str(tick)) + len(str(labelled[-1]))) + 0.6 if labelled else 0.0
        if position - last >= ems * per_em:
            labelled.append(tick)
    fixed_ticks(axes.xaxis, labelled, "{:.0f}".format, [tick for tick in ticks if tick not in labelled])
    axes.set_xlabel("batch size")


def decade_axis(axis: Axis, values: Iterable[float], most: int = 5) -> None:
    """Label a logarithmic axis at powers of ten, or at its values where there are fewer than two powers.

    Of values that lie closer together than labels can be read the lowest is labelled.
    """
    shown = sorted(set(values))
    first, last = math.ceil(math.log10(shown[0] / 1.7)), math.floor(math.log10(shown[-1] * 1.7))
    decades = [10.0**power for power in range(first, last + 1)]
    every = -(-len(decades) // most)
    if len(decades) > 1:
        fixed_ticks(axis, decades[::every], _power)
    else:
        closest = (shown[-1] / shown[0]) ** (1 / most)
        labelled = shown[:1]
        for value in shown[1:]:
            if value >= closest * labelled[-1]:
                labelled.append(value)
        fixed_ticks(axis, labelled, short)


def log_axis(axis: Axis, low: float, high: float, write: Callable[[float], str], most: int = 5) -> None:
    """Label a logarithmic axis at round values within its limits: powers of ten, or 1, 2 and 5 where these are few.

    Args:
        axis: of a panel.
        low: lower limit.
        high: upper limit.
        write: how values are written on an axis that is not of powers of ten alone.
        most: number of powers of ten that are labelled.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades, round_values, digits = (
        [value for power in powers for digit in each if low <= (value := float(f"{digit}e{power}")) <= high]
        for each in ((1,), (1, 2, 5), range(1, 10))
    )
    if len(decades) > 2:
        fixed_ticks(axis, decades[:: -(-len(decades) // most)], _power)
    else:
        fixed_ticks(axis, round_values if len(round_values) > 1 else digits or [low, high], write)


def signed_axis(axes: Axes, values: Iterable[float]) -> None:
    """Make the y-axis logarithmic on both sides of zero where some values are 50 times as large as the median."""
    sizes = np.abs([value for value in values if math.isfinite(value) and value != 0])
    scale = look().gap_scale
    if scale == "linear" or not len(sizes) or (scale == "auto" and sizes.max() < 50 * np.median(sizes)):
        return
    linear = 10.0 ** math.floor(math.log10(np.median(sizes)))
    axes.set_yscale("symlog", linthresh=linear)
    decades = [linear * 10**power for power in range(math.floor(math.log10(sizes.max() / linear)) + 1)]
    shown = decades[:: -(-len(decades) // 3)]
    fixed_ticks(axes.yaxis, [*(-value for value in shown), 0, *shown], lambda value: f"{value:g}".replace("-", _MINUS))


def zero_line(axes: Axes) -> None:
    """Draw the line of zero gap: above it the challenger is better."""
    axes.axhline(0, color=INK, linewidth=scaled(0.9), zorder=1.5)


def short(value: Any) -> str:
    """A learning rate as a tick label: two digits."""
    rounded = isinstance(value, (int, float)) and value < 100
    return format_value(float(f"{value:.2g}") if rounded else value)


def _power(value: float) -> str:
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
