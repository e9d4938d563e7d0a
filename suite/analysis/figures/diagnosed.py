"""What happened inside the tuned runs: a figure per diagnostic, against steps or by group, a column per batch size."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from suite.analysis.diagnosed import chosen, group_gaps, reduced
from suite.analysis.figures.style import FAINT, INK, legend_above, optimizer_style, panel_grid, short
from suite.analysis.table import optimizer_title

NAMED_GROUPS = 12
"""Up to so many groups have their names on the axis."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """One row of panels.

    Attributes:
        quantity: what is drawn.
        label: of its axis.
        over: ``steps``, ``groups``, or ``gap``: the difference between reference and challenger by group.
        at: which step stands for a group: ``last`` or the ``median``.
        log: whether its axis is logarithmic.
        beside: a second quantity, drawn thin and dotted.
        line: a value to compare with, or the quantity that holds it.
        groups: what the groups are.
        ordered: whether the groups are in an order that a line may follow.
    """

    quantity: str
    label: str
    over: Literal["steps", "groups", "gap"] = "steps"
    at: str = "median"
    log: bool = False
    beside: str | None = None
    line: float | str | None = None
    groups: str = ""
    ordered: bool = False


DRAWINGS: dict[str, tuple[Drawing, ...]] = {
    "clipping": (
        Drawing(quantity="norm_before", label="gradient norm", log=True, beside="norm_after"),
        Drawing(quantity="clipped_share", label="clipped steps (share)"),
    ),
    "clipped_coordinates": (
        Drawing(quantity="momentum_share", label="clipped (share)", over="groups", groups="layer"),
        Drawing(quantity="gradient_share", label="clipped (share)", over="groups", groups="layer"),
    ),
    "updates": (
        Drawing(quantity="ratio", label="update / weight", over="groups", log=True, groups="role"),
        Drawing(quantity="rms", label="update RMS", over="groups", log=True, groups="layer"),
    ),
    "agreement": (
        Drawing(
            quantity="sign_agreement", label="same sign (share)", over="groups", line=0.5, groups="pair of updates"
        ),
        Drawing(quantity="cosine", label="cosine", over="groups", line=0.0, groups="pair of updates"),
    ),
    "noise": (
        Drawing(quantity="noise_scale", label="noise scale (samples)", log=True),
        Drawing(quantity="tail_index", label="tail index", line=2.0),
        Drawing(
            quantity="sign_actual",
            label="sign progress",
            over="groups",
            beside="sign_predicted",
            groups="samples",
            ordered=True,
        ),
        Drawing(quantity="snr", label="signal / noise", over="groups", log=True, groups="layer"),
    ),
    "frequency": (
        Drawing(
            quantity="loss", label="validation loss", over="groups", at="last", groups="frequency group", ordered=True
        ),
        Drawing(quantity="loss", label="gap", over="gap", at="last", line=0.0, groups="frequency group", ordered=True),
    ),
    "sharpness": (
        Drawing(quantity="predicted_change", label="change of the loss", beside="actual_change", line=0.0),
        Drawing(quantity="gradient_correlation", label="gradient correlation", line=0.0),
        Drawing(quantity="directional_sharpness", label="sharpness", line=0.0),
        Drawing(quantity="direction_sharpness", label="sharpness / length\N{SUPERSCRIPT TWO}", log=True),
    ),
    "smoothness": (
        Drawing(quantity="r", label="r", log=True, line="threshold"),
        Drawing(quantity="l2", label="L2", log=True, beside="l2_path"),
        Drawing(quantity="linf", label="L\N{INFINITY}", log=True, beside="linf_path"),
    ),
    "spectra": (
        Drawing(quantity="js_distance", label="JS distance"),
        Drawing(quantity="js_distance", label="JS to others", over="groups", at="last", groups="block"),
        Drawing(quantity="largest", label="largest eigenvalue", over="groups", at="last", groups="block"),
    ),
}
"""Diagnostic -> the rows of its figure; of what has no entry every quantity is drawn over the steps."""


def diagnosed_figure(
    points: pd.DataFrame, diagnostic: str, labels: Sequence[str], pair: tuple[str, str] | None = None
) -> Figure | None:
    """Draw one diagnostic of one task.

    Args:
        points: see `suite.analysis.diagnosed.diagnosed_points`, of one task.
        diagnostic: its name.
        labels: optimizers of the sweep, in its order.
        pair: reference and challenger of the gap by group.

    Returns:
        The figure; None when nothing was measured.
    """
    mine = points[points["diagnostic"] == diagnostic]
    drawings = [d for d in _drawings(mine, diagnostic) if not _rows(mine, d, diagnostic, pair).empty]
    if not drawings:
        return None
    sizes = sorted(mine["batch_size"].unique())
    figure, axes, columns = panel_grid(len(sizes), len(drawings), height=1.55, sharey=False, sharex=False)
    for row, drawing in enumerate(drawings):
        rows = _rows(mine, drawing, diagnostic, pair)
        places = []
        for panel, size in enumerate(sizes):
            place = axes[panel // columns * len(drawings) + row, panel % columns]
            here = rows[rows["batch_size"] == size]
            beside = pd.DataFrame()
            if drawing.beside:
                other = dataclasses.replace(drawing, quantity=drawing.beside)
                beside = _rows(mine[mine["batch_size"] == size], other, diagnostic, pair)
            _panel(place, drawing, here, beside, labels)
            _compare(place, drawing, mine[mine["batch_size"] == size])
            if row == 0:
                place.set_title(f"batch size {size}", fontsize=8)
            if panel % columns == 0:
                place.set_ylabel(drawing.label, fontsize=7.5)
            places.append(place)
        _same_limits(places)
    handles, names = [], []
    for place in axes.flat:
        for handle, name in zip(*place.get_legend_handles_labels(), strict=True):
            if name not in names:
                handles.append(handle)
                names.append(name)
    legend_above(figure, handles, names)
    return figure


def _drawings(mine: pd.DataFrame, diagnostic: str) -> tuple[Drawing, ...]:
    known = [Drawing(quantity=name, label=name) for name in mine["quantity"].unique()]
    return DRAWINGS.get(diagnostic, tuple(known))


def _rows(mine: pd.DataFrame, drawing: Drawing, diagnostic: str, pair: tuple[str, str] | None) -> pd.DataFrame:
    """What a row of panels shows: columns ``batch_size``, ``optimizer``, ``value``, and ``step`` or ``group``."""
    if drawing.over == "gap":
        if pair is None:
            return pd.DataFrame()
        gaps = group_gaps(mine, *pair).rename(columns={"gap": "value"})
        return gaps.assign(optimizer="")
    rows = chosen(mine, diagnostic, drawing.quantity, groups=drawing.over == "groups")
    return rows if drawing.over == "steps" else reduced(rows, drawing.at)


def _panel(place: Axes, drawing: Drawing, rows: pd.DataFrame, beside: pd.DataFrame, labels: Sequence[str]) -> None:
    groups = list(dict.fromkeys(rows["group"])) if drawing.over != "steps" else []
    for number, label in enumerate([*labels, ""]):
        own = rows[rows["optimizer"] == label]
        if own.empty:
            continue
        drawn = optimizer_style(label, labels) if label else {"color": INK, "marker": "o", "linestyle": "-"}
        x, y = _points(own, groups)
        if groups and not drawing.ordered:
            drawn["linestyle"] = "none"
            x = x + 0.3 * ((number + 0.5) / len(labels) - 0.5)
        place.plot(x, y, **drawn, markersize=3, label=optimizer_title(label) if label else None)
        if not beside.empty:
            x, y = _points(beside[beside["optimizer"] == label], groups)
            place.plot(x, y, color=drawn["color"], linestyle=":", linewidth=1)
    if drawing.log and bool((rows["value"] > 0).any()):
        place.set_yscale("log")
    if groups:
        named = len(groups) <= NAMED_GROUPS
        words = [group.removesuffix(".weight") for group in groups]
        ticks = range(len(groups)) if named else []
        turned = named and max(map(len, words)) > 2
        place.set_xticks(ticks, words if named else [], rotation=90 if turned else 0, fontsize=6)
        place.set_xlabel(drawing.groups if named else f"{drawing.groups}, in order", fontsize=7)
        place.grid(axis="x", visible=False)
    else:
        _step_axis(place, rows["step"].to_numpy(dtype=float))


def _step_axis(place: Axes, steps: np.ndarray) -> None:
    """A logarithmic axis, with room for step 0, where the steps are spread that way."""
    place.set_xlabel("step", fontsize=7)
    if len(steps) and np.median(steps) < 0.2 * steps.max():
        place.set_xscale("symlog", linthresh=1, linscale=0.4)
        place.set_xlim(-0.5, 1.6 * steps.max())
        tens = [10.0**power for power in range(int(np.log10(steps.max())) + 1)]
        place.xaxis.set_major_locator(FixedLocator([0, *tens[:: -(-len(tens) // 3)]]))
        place.xaxis.set_minor_locator(NullLocator())
        place.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    else:
        place.xaxis.set_major_locator(MaxNLocator(3, integer=True))


def _points(rows: pd.DataFrame, groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if not groups:
        ordered = rows.sort_values("step")
        return ordered["step"].to_numpy(dtype=float), ordered["value"].to_numpy(dtype=float)
    known = rows[rows["group"].isin(groups)]
    return np.array([groups.index(g) for g in known["group"]], dtype=float), known["value"].to_numpy(dtype=float)


def _compare(place: Axes, drawing: Drawing, mine: pd.DataFrame) -> None:
    level = drawing.line
    if isinstance(level, str):
        found = mine.loc[mine["quantity"] == level, "value"]
        level = float(found.iloc[0]) if len(found) else None
    if level is not None:
        place.axhline(level, color=FAINT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1.5)


def _same_limits(places: Sequence[Axes]) -> None:
    low = min(place.get_ylim()[0] for place in places)
    high = max(place.get_ylim()[1] for place in places)
    for number, place in enumerate(places):
        place.set_ylim(low, high)
        if place.get_yscale() == "log":
            decades = np.log10(high / low)
            place.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 2 else (1, 2, 5), numticks=6))
            place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            place.yaxis.set_minor_locator(NullLocator())
        if number:
            place.tick_params(axis="y", labelleft=False)
