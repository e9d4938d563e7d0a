"""What happened inside the tuned runs: a figure per diagnostic, against steps or by group, a column per batch size."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from suite.analysis.diagnosed import chosen, group_gaps, reduced
from suite.analysis.figures.layout import at_left, legend_above, legend_entries, panel_grid, same_limits
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import fixed_ticks, short
from suite.analysis.figures.style import FAINT, INK, scaled
from suite.analysis.words import optimizer_title

NAMED_GROUPS = 12
"""Largest number of groups whose names are written on the axis."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One row of panels.

    Attributes:
        quantity: what is drawn.
        label: label of the y-axis.
        over: ``steps``, ``groups``, or ``gap``: the difference between reference and challenger by group.
        at: which step stands for a group: ``last`` or the ``median``.
        log: whether the y-axis is logarithmic.
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


@dataclasses.dataclass(frozen=True)
class Diagnostic:
    """The figure of one diagnostic.

    Attributes:
        heading: above it.
        caption: how to read it.
        drawings: its rows of panels.
    """

    heading: str
    caption: str
    drawings: tuple[Drawing, ...]


DIAGNOSTICS: dict[str, Diagnostic] = {
    "clipping": Diagnostic(
        "Clipping",
        "Gradient norm before clipping (dotted: after it), and the share of steps that were clipped, per block of "
        "steps.",
        (
            Drawing("norm_before", "gradient norm", log=True, beside="norm_after"),
            Drawing("clipped_share", "clipped steps (share)"),
        ),
    ),
    "clipped_coordinates": Diagnostic(
        "Clipped coordinates",
        "Share of each layer's coordinates that were clipped.",
        (
            Drawing("momentum_share", "clipped (share)", over="groups", groups="layer"),
            Drawing("gradient_share", "clipped (share)", over="groups", groups="layer"),
        ),
    ),
    "updates": Diagnostic(
        "Size of the steps",
        "Norm of the update over norm of the weights by role, and root mean square of the update by layer; medians "
        "over the steps.",
        (
            Drawing("ratio", "update / weight", over="groups", log=True, groups="role"),
            Drawing("rms", "update RMS", over="groups", log=True, groups="layer"),
        ),
    ),
    "agreement": Diagnostic(
        "Agreement of the optimizers",
        "Updates that optimizers would make on the gradients of the run, pair by pair; run: the update it made. "
        "Dashed: what independent directions give.",
        (
            Drawing("sign_agreement", "same sign (share)", over="groups", line=0.5, groups="pair of updates"),
            Drawing("cosine", "cosine", over="groups", line=0.0, groups="pair of updates"),
        ),
    ),
    "noise": Diagnostic(
        "Gradient noise",
        "Simple noise scale; tail index of the noise norms (dashed: below 2 the variance is infinite); progress of "
        "a sign step as a share of a noiseless one (dotted: predicted by the diffusion limit); signal to noise by "
        "layer.",
        (
            Drawing("noise_scale", "noise scale (samples)", log=True),
            Drawing("tail_index", "tail index", line=2.0),
            Drawing(
                "sign_actual", "sign progress", over="groups", beside="sign_predicted", groups="samples", ordered=True
            ),
            Drawing("snr", "signal / noise", over="groups", log=True, groups="layer"),
        ),
    ),
    "frequency": Diagnostic(
        "Rare and frequent classes",
        "Validation loss at the end by frequency of the target in the training data, 1 for the most frequent; "
        "below, the gap on each group: above zero the challenger is better.",
        (
            Drawing("loss", "validation loss", over="groups", at="last", groups="frequency group", ordered=True),
            Drawing("loss", "gap", over="gap", at="last", line=0.0, groups="frequency group", ordered=True),
        ),
    ),
    "sharpness": Diagnostic(
        "Along the steps",
        "Change of the loss that a step's first and second order predict (dotted: the actual one), its two parts, "
        "and the sharpness of the direction.",
        (
            Drawing("predicted_change", "change of the loss", beside="actual_change", line=0.0),
            Drawing("gradient_correlation", "gradient correlation", line=0.0),
            Drawing("directional_sharpness", "sharpness", line=0.0),
            Drawing("direction_sharpness", "sharpness / length\N{SUPERSCRIPT TWO}", log=True),
        ),
    ),
    "smoothness": Diagnostic(
        "Smoothness",
        "Ratio r of the smoothness constants (dashed: d^(1/3), below which the theory predicts a crossover), and "
        "the two constants (dotted: along the path).",
        (
            Drawing("r", "r", log=True, line="threshold"),
            Drawing("l2", "L2", log=True, beside="l2_path"),
            Drawing("linf", "L\N{INFINITY}", log=True, beside="linf_path"),
        ),
    ),
    "spectra": Diagnostic(
        "Hessian spectra of the blocks",
        "Jensen-Shannon distance between the spectra of blocks: mean over pairs, mean of each block to the others, "
        "and each block's largest eigenvalue.",
        (
            Drawing("js_distance", "JS distance"),
            Drawing("js_distance", "JS to others", over="groups", at="last", groups="block"),
            Drawing("largest", "largest eigenvalue", over="groups", at="last", groups="block"),
        ),
    ),
}
"""By the name of the diagnostic."""


def described(name: str, points: pd.DataFrame) -> Diagnostic:
    """How a diagnostic is drawn; one without an entry has every quantity drawn over the steps."""
    plain = (Drawing(quantity, quantity) for quantity in points["quantity"].unique())
    return DIAGNOSTICS.get(name) or Diagnostic(name, f"What {name} measured.", tuple(plain))


def diagnosed_figure(
    points: pd.DataFrame, drawings: Sequence[Drawing], labels: Sequence[str], pair: tuple[str, str] | None = None
) -> Figure | None:
    """Draw one diagnostic of one task.

    Args:
        points: see `suite.analysis.diagnosed.diagnosed_points`, of one task and diagnostic.
        drawings: the rows of panels.
        labels: optimizers of the sweep, in its order.
        pair: reference and challenger of the gap by group.

    Returns:
        The figure; None when nothing was measured.
    """
    shown = [(drawing, rows) for drawing in drawings if not (rows := _rows(points, drawing, pair)).empty]
    if not shown:
        return None
    sizes = sorted(points["batch_size"].unique())
    names = sum(_longest_name(rows) for _, rows in shown) / len(shown)
    figure, panels = panel_grid(len(sizes), height=10 + 0.45 * names, narrowest=10, rows=len(shown))
    for row, (drawing, rows) in zip(panels, shown, strict=True):
        for axes, size in zip(row, sizes, strict=True):
            at_size = points[points["batch_size"] == size]
            beside = pd.DataFrame()
            if drawing.beside:
                beside = _rows(at_size, dataclasses.replace(drawing, quantity=drawing.beside), pair)
            _draw(axes, drawing, rows[rows["batch_size"] == size], beside, labels)
            _compare(axes, drawing, at_size)
            if at_left(axes):
                axes.set_ylabel(drawing.label, fontsize=scaled(8))
        _same_scale(row)
    for axes, size in zip(panels[0], sizes, strict=True):
        axes.set_title(f"batch size {size}")
    legend_above(figure, *legend_entries(panels.flat))
    return figure


def _longest_name(rows: pd.DataFrame) -> int:
    """Letters of the longest name of a group that is written below its panel; 0 where none is."""
    groups = rows["group"].unique() if "group" in rows else []
    names = [str(group).removesuffix(".weight") for group in groups] if len(groups) <= NAMED_GROUPS else []
    longest = max(map(len, names), default=0)
    return longest if longest > 2 else 0


def _rows(points: pd.DataFrame, drawing: Drawing, pair: tuple[str, str] | None) -> pd.DataFrame:
    """What a row of panels shows: columns ``batch_size``, ``optimizer``, ``value``, and ``step`` or ``group``."""
    if drawing.over == "gap":
        if pair is None:
            return pd.DataFrame()
        return group_gaps(points, *pair).rename(columns={"gap": "value"}).assign(optimizer="")
    rows = chosen(points, drawing.quantity, groups=drawing.over == "groups")
    return rows if drawing.over == "steps" else reduced(rows, drawing.at)


def _draw(axes: Axes, drawing: Drawing, rows: pd.DataFrame, beside: pd.DataFrame, labels: Sequence[str]) -> None:
    groups = list(dict.fromkeys(rows["group"])) if drawing.over != "steps" else []
    for number, label in enumerate([*labels, ""]):
        of_label = rows[rows["optimizer"] == label]
        if of_label.empty:
            continue
        looks = optimizer_style(label, labels) if label else {"color": INK, "marker": "o", "linestyle": "-"}
        x, y = _points(of_label, groups)
        if groups and not drawing.ordered:
            looks["linestyle"] = "none"
            x = x + 0.3 * ((number + 0.5) / len(labels) - 0.5)
        axes.plot(x, y, **looks, markersize=scaled(3), label=optimizer_title(label) if label else None)
        if not beside.empty:
            x, y = _points(beside[beside["optimizer"] == label], groups)
            axes.plot(x, y, color=looks["color"], linestyle=":", linewidth=scaled(1))
    if drawing.log and bool((rows["value"] > 0).any()):
        axes.set_yscale("log")
    if groups:
        _group_axis(axes, drawing.groups, [group.removesuffix(".weight") for group in groups])
    else:
        _step_axis(axes, rows["step"].to_numpy(dtype=float))


def _group_axis(axes: Axes, title: str, words: Sequence[str]) -> None:
    """An axis with the names of the groups, where they are few enough."""
    named = len(words) <= NAMED_GROUPS
    turned = named and max(map(len, words)) > 2
    axes.set_xticks(
        range(len(words)) if named else [], words if named else [], rotation=90 if turned else 0, fontsize=scaled(6.5)
    )
    axes.set_xlabel(title if named else f"{title}, in order", fontsize=scaled(8))
    axes.grid(axis="x", visible=False)


def _step_axis(axes: Axes, steps: np.ndarray) -> None:
    """A logarithmic axis, with room for step 0, where the steps are spread that way."""
    axes.set_xlabel("step", fontsize=scaled(8))
    if len(steps) and np.median(steps) < 0.2 * steps.max():
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        axes.set_xlim(-0.5, 1.6 * steps.max())
        tens = [10.0**power for power in range(int(np.log10(steps.max())) + 1)]
        fixed_ticks(axes.xaxis, [0, *tens[:: -(-len(tens) // 3)]], short)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))


def _points(rows: pd.DataFrame, groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of some rows' values: over the position of their group on the axis, or over their step."""
    positions = {group: float(position) for position, group in enumerate(groups)}
    drawn = rows.assign(x=rows["group"].map(positions)).dropna(subset="x") if groups else rows.sort_values("step")
    return drawn["x" if groups else "step"].to_numpy(dtype=float), drawn["value"].to_numpy(dtype=float)


def _compare(axes: Axes, drawing: Drawing, points: pd.DataFrame) -> None:
    level = drawing.line
    if isinstance(level, str):
        level = next(iter(points.loc[points["quantity"] == level, "value"]), None)
    if level is not None:
        axes.axhline(level, color=FAINT, linewidth=scaled(0.9), linestyle=(0, (4, 2)), zorder=1.5)


def _same_scale(row: Sequence[Axes]) -> None:
    low, high = same_limits(row)
    for axes in row:
        if axes.get_yscale() == "log":
            decades = np.log10(high / low)
            axes.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 2 else (1, 2, 5), numticks=6))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            axes.yaxis.set_minor_locator(NullLocator())
