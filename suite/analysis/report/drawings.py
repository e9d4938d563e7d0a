"""The figures of a comparison: drawn in every look, saved beside the page, and put into it with a caption."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from suite.analysis.comparison import Comparison
from suite.analysis.curves import LossReader, train_seconds
from suite.analysis.figures.branches import branches_figure
from suite.analysis.figures.budget_law import budget_law_figure
from suite.analysis.figures.collapse import collapse_figure
from suite.analysis.figures.curves import curves_figure
from suite.analysis.figures.diagnosed import described, diagnosed_figure
from suite.analysis.figures.effects import effects_figure
from suite.analysis.figures.gap import gap_figure
from suite.analysis.figures.heatmap import heatmap_figure
from suite.analysis.figures.panels import panels_figure
from suite.analysis.figures.sensitivity import sensitivity_figure
from suite.analysis.figures.style import PAGE, Look, caption_of, drawn, save
from suite.analysis.figures.target import target_figure
from suite.analysis.figures.tuned import tuned_figure
from suite.analysis.figures.tuned_laws import tuned_laws_figure
from suite.analysis.figures.tuning_cost import tuning_cost_figure
from suite.analysis.gap import SERIES
from suite.analysis.report.page import Markup, element, picture, section
from suite.analysis.selection import ALL, Selection
from suite.analysis.theory_fit import theory_fit

Draw = Callable[[], Figure | None]


@dataclasses.dataclass(frozen=True)
class Caption:
    """Heading, alternative text and caption of a figure.

    Attributes:
        heading: above it; empty where the page has one.
        alt: what it shows, for those who cannot see it.
        caption: what it shows; how to read it is added from what was drawn.
        inline: whether the SVG becomes part of the page, so that its tooltips work.
        level: of the heading.
    """

    heading: str
    alt: str
    caption: str
    inline: bool = False
    level: str = "h2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """What of a comparison a page shows, and how.

    Attributes:
        labels: optimizers in the order of their colours, where the page is one of several; the plan's own follow.
        looks: in which figures are drawn, that of the page first.
        selection: optimizers and batch sizes.
        watch_seconds: between two times that a browser loads the page anew, while its sweep runs; None: it does not.
    """

    labels: Sequence[str] = ()
    looks: Sequence[Look] = (PAGE,)
    selection: Selection = ALL
    watch_seconds: float | None = None


ON_A_PAGE = Shown()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Easel:
    """Where and how figures are drawn.

    Attributes:
        folder: where they go.
        labels: all optimizers of the report or index, in the order of their colours.
        looks: that of the page first.
    """

    folder: Path
    labels: Sequence[str]
    looks: Sequence[Look]

    def place(self, draw: Draw, name: str, caption: Caption) -> Markup:
        """Draw a figure in every look, save it, and put it into the page; nothing where nothing is drawn."""
        first, *others = self.looks
        figure = drawn(draw, first)
        if figure is None:
            return Markup("")
        _, svg, _ = save(figure, self.folder, name)
        for look in others:
            other = drawn(draw, look)
            if other is not None:
                save(other, self.folder, f"{name}-{look.name}", ("png", "pdf"))
        heading = element(caption.level, caption.heading) if caption.heading else ""
        words = f"{caption.caption} {caption_of(figure)}".strip()
        names = [look.name for look in others]
        return Markup(heading + picture(svg, caption.alt, words, inline=caption.inline, others=names))


def overall_drawings(comparison: Comparison, labels: Sequence[str]) -> dict[str, Draw]:
    """The figures of all tasks together by name; those without anything to show draw None.

    Branches over the trunk's share, panels where there are several series, the crossover over the budget, the gaps of
    all budgets over batch size and steps, effects of the settings that panels vary, and for every family of panels the
    steps to the target loss with the budget made for it.

    Args:
        comparison: of all tasks.
        labels: optimizers in the order of their colours.
    """
    gaps = comparison.gaps
    apart = gaps[~gaps["task"].isin(list(comparison.points))]
    drawings: dict[str, Draw] = {
        "branches": lambda: branches_figure(comparison.branch_gaps, labels) if comparison.points else None,
        "panels": lambda: panels_figure(apart, comparison.published_gaps, labels),
        "budget_law": lambda: budget_law_figure(comparison.budget_laws),
        "collapse": lambda: collapse_figure(comparison.collapses),
        "effects": lambda: effects_figure(comparison.effects[0]),
    }
    for number, (family, steps) in enumerate(comparison.retrained.groupby("task", sort=False)):
        critical = comparison.critical[comparison.critical["task"] == family]
        drawings[f"retrained-{number + 1}"] = functools.partial(target_figure, steps, critical, labels)
    return drawings


def draw_overview(comparison: Comparison, easel: Easel) -> Markup:
    """All gaps of a comparison: branches and panels."""
    drawings = overall_drawings(comparison, easel.labels)
    captions = {"branches": _BRANCHES, "panels": _OVERVIEW}
    return Markup("".join(easel.place(drawings[name], name, caption) for name, caption in captions.items()))


def drawings_of(comparison: Comparison, losses: LossReader, labels: Sequence[str]) -> dict[str, Draw]:
    """Every figure of one task by name; those without anything to show draw None.

    Args:
        comparison: of one task.
        losses: reads the curves.
        labels: optimizers in the order of their colours.
    """
    runs, tuned, gaps = comparison.runs, comparison.tuned, comparison.gaps
    if not runs["loss"].notna().any():
        return {}
    published, loss = comparison.published_gaps, f"final loss ({comparison.final_loss})"
    fit = theory_fit(gaps)
    model = None if fit is None or len(comparison.crossovers) > 1 else fit.model
    # Over one batch size alone, a branch point's gap is a point: the overview shows it among the others.
    in_overview = bool(set(gaps["task"]) & set(comparison.points)) and gaps["batch_size"].nunique() == 1
    any_gap = gaps["gap"].notna().any() and not in_overview
    return {
        "gap": lambda: gap_figure(gaps, comparison.crossovers, labels, published, model) if any_gap else None,
        "tuned": lambda: tuned_figure(tuned, labels, comparison.published_losses, loss=loss),
        "tuning_cost": lambda: tuning_cost_figure(_first_pair(comparison), labels),
        "sensitivity": lambda: sensitivity_figure(runs, labels, loss=loss),
        "heatmap": lambda: heatmap_figure(runs, labels),
        "momenta": lambda: heatmap_figure(runs, labels, momenta=True),
        "curves": lambda: curves_figure(tuned, losses, labels, train_seconds(runs)),
        "tuned_laws": lambda: tuned_laws_figure(comparison.tuned_values, labels),
        "steps_to_target": lambda: target_figure(comparison.to_target, _critical_within(comparison), labels),
    }


def draw_figures(comparison: Comparison, losses: LossReader, easel: Easel, suffix: str = "") -> dict[str, Markup]:
    """Draw every figure of one task.

    Args:
        comparison: of one task.
        losses: reads the curves.
        easel: where and how.
        suffix: end of the files' names, where there are several tasks.

    Returns:
        Figures in HTML by name; nothing for those without anything to show.
    """
    drawings = drawings_of(comparison, losses, easel.labels)
    return {
        name: easel.place(drawings[name], f"{name}{suffix}", caption) if name in drawings else Markup("")
        for name, caption in _CAPTIONS.items()
    }


def draw_diagnosed(comparison: Comparison, measured: pd.DataFrame, easel: Easel, suffix: str = "") -> Markup:
    """A section with a figure per diagnostic of one task; nothing where none was measured.

    Args:
        comparison: of one task.
        measured: see `suite.analysis.diagnosed.diagnosed_points`.
        easel: where and how.
        suffix: end of the files' names.
    """
    pair = next(iter(comparison.pairs), None)
    parts = []
    for name, of_one in measured.groupby("diagnostic", sort=False):
        shown = described(str(name), of_one)
        caption = Caption(shown.heading, f"{shown.heading} of the tuned runs.", shown.caption, level="h3")
        draw = functools.partial(diagnosed_figure, of_one, shown.drawings, easel.labels, pair)
        parts.append(easel.place(draw, f"diagnostic-{str(name).replace('.', '-')}{suffix}", caption))
    return section("What happened inside the tuned runs", *parts) if any(parts) else Markup("")


def _critical_within(comparison: Comparison) -> pd.DataFrame:
    """Critical batch sizes by the steps within the runs; those by budgets made for the target have another figure."""
    critical = comparison.critical
    return critical[~critical["retrained"].astype(bool)]


def draw_law(comparison: Comparison, easel: Easel, name: str) -> Markup:
    """A figure of the laws of all panels together: ``budget_law``, ``collapse`` or ``effects``."""
    return easel.place(overall_drawings(comparison, easel.labels)[name], name, _LAWS[name])


def draw_retrained(comparison: Comparison, easel: Easel) -> Markup:
    """Steps to the target where the budget was made for it, a figure per family of panels."""
    parts, drawings = [], overall_drawings(comparison, easel.labels)
    families = list(comparison.retrained["task"].unique())
    for number, family in enumerate(families, start=1):
        named = f"{family}: " if len(families) > 1 else ""
        alt = "Steps and tokens to the target loss against batch size, with the budget made for it."
        caption = Caption("", alt, f"{named}Steps to the target loss, with the budget made for it.", inline=True)
        parts.append(easel.place(drawings[f"retrained-{number}"], f"retrained-{number}", caption))
    return Markup("".join(parts))


def _first_pair(comparison: Comparison) -> pd.DataFrame:
    cost = comparison.tuning_cost
    return cost[(cost[SERIES[1:]] == cost[SERIES[1:]].iloc[0]).all(axis=1)] if len(cost) else cost


_TIPS = "Point at a gap to see the tuned settings."

_LAWS = {
    "budget_law": Caption(
        "",
        "Batch size of the crossover against the budget, with its power law.",
        "Batch size at which the gap passes zero, against the budget.",
        inline=True,
    ),
    "collapse": Caption(
        "",
        "Relative gap of every budget against batch size, and against the number of steps.",
        "Relative gap of every budget: against batch size, and against the number of steps. Where budgets lie on one "
        "curve, that is what the gap follows.",
        inline=True,
    ),
    "effects": Caption(
        "",
        "Effects of settings on the relative gap, with intervals, at every batch size.",
        "Effects of the settings, and of two together, on the relative gap.",
        inline=True,
    ),
}

_OVERVIEW = Caption(
    "",
    "Relative gaps of all panels and pairs of optimizers.",
    f"Relative gap of the tuned optimizers. {_TIPS}",
    inline=True,
)

_BRANCHES = Caption(
    "",
    "Relative gap of the branches against the share of the trunk after which they start, by trunk.",
    f"Relative gap of the tuned branches over the share of the trunk's steps after which they start. {_TIPS}",
    inline=True,
)

_CAPTIONS = {
    "gap": Caption(
        "",
        "Gap between the tuned optimizers against batch size.",
        f"Gap between the tuned optimizers against batch size. {_TIPS}",
        inline=True,
    ),
    "tuned": Caption(
        "The tuned points",
        "Tuned final loss and learning rate of each optimizer against batch size.",
        "Tuned final loss and the learning rate of the tuned setting, against batch size.",
        inline=True,
    ),
    "tuning_cost": Caption(
        "What tuning costs",
        "Expected loss of each optimizer, and the gap, against the number of random trials, by batch size.",
        "Best loss to expect after k settings drawn at random from the grid, without replacement; below, the gap "
        "between the two. A trial that diverged, or ended above the loss of the untrained network, counts as that "
        "loss.",
    ),
    "sensitivity": Caption(
        "Sensitivity to the learning rate",
        "Final loss against learning rate, one line per momentum, one panel per optimizer and batch size.",
        "Final loss on the seeds that chose.",
    ),
    "heatmap": Caption(
        "The whole grid",
        "Maps of the final loss over two settings, one per optimizer and batch size.",
        "Final loss on the seeds that chose, further settings at their best.",
    ),
    "momenta": Caption(
        "The two momenta",
        "Maps of the final loss over two momenta, one per optimizer and batch size.",
        "Final loss on the seeds that chose, at the best learning rate.",
    ),
    "tuned_laws": Caption(
        "",
        "Tuned settings of each optimizer against batch size, with power laws.",
        "Tuned settings against batch size.",
        inline=True,
    ),
    "steps_to_target": Caption(
        "",
        "Steps and tokens to the target loss of each optimizer against batch size.",
        "Steps to the target loss at the tuned points.",
        inline=True,
    ),
    "curves": Caption(
        "The best curves",
        "Smoothed train loss of the tuned points against the share of the budget and the seconds of training.",
        "Moving average (alpha 0.01, from the first loss on) of the train loss at the tuned settings, mean over seeds.",
    ),
}
