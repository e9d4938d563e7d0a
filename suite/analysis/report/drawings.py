"""The figures of a comparison: drawn, saved beside the page, and put into it with a caption."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from suite.analysis.comparison import Comparison
from suite.analysis.curves import LossReader
from suite.analysis.figures.branches import branches_figure
from suite.analysis.figures.curves import curves_figure
from suite.analysis.figures.diagnosed import described, diagnosed_figure
from suite.analysis.figures.gap import gap_figure
from suite.analysis.figures.heatmap import heatmap_figure
from suite.analysis.figures.panels import panels_figure
from suite.analysis.figures.sensitivity import sensitivity_figure
from suite.analysis.figures.style import save, style
from suite.analysis.figures.tuned import tuned_figure
from suite.analysis.figures.tuning_cost import tuning_cost_figure
from suite.analysis.gap import SERIES
from suite.analysis.report.page import Markup, element, picture, section
from suite.analysis.theory_fit import theory_fit


@dataclasses.dataclass(frozen=True)
class Caption:
    """Heading, alternative text and caption of a figure.

    Attributes:
        heading: above it; empty where the page has one.
        alt: what it shows, for those who cannot see it.
        caption: how to read it.
        inline: whether the SVG becomes part of the page, so that its tooltips work.
        level: of the heading.
    """

    heading: str
    alt: str
    caption: str
    inline: bool = False
    level: str = "h2"


def draw_overview(comparison: Comparison, folder: Path) -> Markup:
    """All gaps of a comparison in one figure; nothing where there is one series alone."""
    if comparison.points:
        return placed(lambda: branches_figure(comparison.branch_gaps), folder, "branches", _BRANCHES)
    return placed(lambda: panels_figure(comparison.gaps, comparison.published_gaps), folder, "panels", _OVERVIEW)


def draw_figures(comparison: Comparison, losses: LossReader, folder: Path, suffix: str = "") -> dict[str, Markup]:
    """Draw every figure of one task.

    Args:
        comparison: of one task.
        losses: reads the curves.
        folder: where PNG and SVG go.
        suffix: end of the files' names, where there are several tasks.

    Returns:
        Figures in HTML by name; nothing for those without anything to show.
    """
    labels = list(comparison.runs["optimizer"].drop_duplicates())
    runs, tuned, gaps = comparison.runs, comparison.tuned, comparison.gaps
    published = comparison.published_gaps
    fit = theory_fit(gaps)
    model = None if fit is None or len(comparison.crossovers) > 1 else fit.model
    # Over one batch size alone, a branch point's gap is a point: the overview shows it among the others.
    any_gap = gaps["gap"].notna().any() and not (comparison.points and gaps["batch_size"].nunique() == 1)
    drawings: dict[str, Callable[[], Figure | None]] = {
        "gap": lambda: gap_figure(gaps, comparison.crossovers, labels, published, model) if any_gap else None,
        "tuned": lambda: tuned_figure(tuned, labels),
        "tuning_cost": lambda: tuning_cost_figure(_first_pair(comparison), labels),
        "sensitivity": lambda: sensitivity_figure(runs, labels),
        "heatmap": lambda: heatmap_figure(runs, labels),
        "momenta": lambda: heatmap_figure(runs, labels, momenta=True),
        "curves": lambda: curves_figure(tuned, losses, labels),
    }
    if not runs["loss"].notna().any():
        return dict.fromkeys(drawings, Markup(""))
    return {name: placed(draw, folder, f"{name}{suffix}", _CAPTIONS[name]) for name, draw in drawings.items()}


def draw_diagnosed(comparison: Comparison, points: pd.DataFrame, folder: Path, suffix: str = "") -> Markup:
    """A section with a figure per diagnostic of one task; nothing where none was measured.

    Args:
        comparison: of one task.
        points: see `suite.analysis.diagnosed.diagnosed_points`.
        folder: where PNG and SVG go.
        suffix: end of the files' names.
    """
    labels = list(comparison.runs["optimizer"].drop_duplicates())
    pair = next(iter(comparison.pairs), None)
    parts = []
    for name, measured in points.groupby("diagnostic", sort=False):
        shown = described(str(name), measured)
        caption = Caption(shown.heading, f"{shown.heading} of the tuned runs.", shown.caption, level="h3")
        draw = functools.partial(diagnosed_figure, measured, shown.drawings, labels, pair)
        parts.append(placed(draw, folder, f"diagnostic-{str(name).replace('.', '-')}{suffix}", caption))
    return section("What happened inside the tuned runs", *parts) if any(parts) else Markup("")


def _first_pair(comparison: Comparison) -> pd.DataFrame:
    cost = comparison.tuning_cost
    return cost[(cost[SERIES[1:]] == cost[SERIES[1:]].iloc[0]).all(axis=1)] if len(cost) else cost


def placed(draw: Callable[[], Figure | None], folder: Path, name: str, caption: Caption) -> Markup:
    """Draw a figure, save it as PNG and SVG, and put it into the page; nothing where nothing is drawn."""
    with style():
        figure = draw()
        if figure is None:
            return Markup("")
        _, svg = save(figure, folder, name)
    heading = element(caption.level, caption.heading) if caption.heading else ""
    return Markup(heading + picture(svg, caption.alt, caption.caption, inline=caption.inline))


_OVERVIEW = Caption(
    "",
    "Relative gaps of all panels and pairs of optimizers.",
    "Relative gap with 95% intervals: above zero (or right of it) the challenger is ahead. Open points: a tuned point "
    "lies on the edge of its grid. Crosses: the paper's. Dashed: weighted line in log2 of the batch size, where three "
    "or more gaps lie on one. Grey: nobody is better at 95%.",
    inline=True,
)

_BRANCHES = Caption(
    "",
    "Relative gap of the branches against the share of the trunk after which they start, a line per trunk.",
    "Relative gap of the tuned branches over the share of the trunk's steps after which they start, with 95% "
    "intervals. Above zero the challenger is ahead. Open points: a tuned point lies on the edge of its grid. Arrows: "
    "every setting of one optimizer diverged. Point at a gap to see the winning settings.",
    inline=True,
)

_CAPTIONS = {
    "gap": Caption(
        "",
        "Gap between the tuned optimizers against batch size, relative and absolute, with the crossover.",
        "Gap against batch size, with 95% intervals. Dashed: weighted line in log2 of the batch size, where three or "
        "more gaps lie on one. Dash-dotted: the theory's three terms, fitted. Open points: a tuned point lies on the "
        "edge of its grid. Grey band: between the batch sizes of a claimed crossover. Crosses: values that the paper "
        "prints. Point at a gap to see the winning settings.",
        inline=True,
    ),
    "tuned": Caption(
        "The tuned points",
        "Tuned final loss and winning learning rate of each optimizer against batch size.",
        "Left: tuned final loss with its 95% interval. Right: the learning rate that won. Open points lie on the edge "
        "of the grid.",
        inline=True,
    ),
    "tuning_cost": Caption(
        "What tuning costs",
        "Expected loss of each optimizer, and the gap, against the number of random trials, by batch size.",
        "Best loss to expect after k settings drawn at random from the grid, without replacement; bands: one "
        "standard deviation over the draw. Below: the gap between the two. A trial that diverged, or ended above the "
        "loss of the untrained network, counts as that loss.",
    ),
    "sensitivity": Caption(
        "Sensitivity to the learning rate",
        "Final loss against learning rate, one line per momentum, one panel per optimizer and batch size.",
        "Ring: tuned point. Triangles: losses beyond the panel. Crosses above it: diverged runs. Further axes are at "
        "their best value.",
    ),
    "heatmap": Caption(
        "The whole grid",
        "Maps of the final loss over learning rate and momentum, one per optimizer and batch size.",
        "Numbers: final loss on the seeds that chose. Colour: excess over the lowest of the map. Frame: the tuned "
        "point. Grey: diverged. White: no result.",
    ),
    "momenta": Caption(
        "The two momenta",
        "Maps of the final loss over two momenta, one per optimizer and batch size.",
        "The same at the best learning rate. A tuned point that does not have the lowest number won on more seeds.",
    ),
    "curves": Caption(
        "The best curves",
        "Smoothed train loss of the tuned points against the share of the budget, one panel per batch size.",
        "Moving average (alpha 0.01, from the first loss on) of the train loss at the tuned settings, mean over seeds.",
    ),
}
