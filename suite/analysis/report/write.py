"""Writes the report of one plan: the page, its figures as PNG and SVG, its tables as CSV."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from suite.analysis.comparison import Comparison, compare_plan
from suite.analysis.crossover import Crossover
from suite.analysis.curves import LossReader, store_losses
from suite.analysis.figures.curves import curves_figure
from suite.analysis.figures.gap import gap_figure
from suite.analysis.figures.heatmap import heatmap_figure
from suite.analysis.figures.sensitivity import sensitivity_figure
from suite.analysis.figures.style import save, style
from suite.analysis.figures.tuned import tuned_figure
from suite.analysis.report.page import Markup, bullets, element, page, picture, section, table, text
from suite.analysis.report.provenance import provenance, provenance_caveats
from suite.analysis.table import format_setting, optimizer_title
from suite.analysis.terminal import better_text, caveats, edge_text, loss_text
from suite.records import Store


def write_report(store: Store, plan: Mapping[str, Any], out_dir: Path) -> Path:
    """Write the report of one plan; what is there from an earlier time is replaced.

    Args:
        store: where the records are.
        plan: see `suite.records.Store.plan`.
        out_dir: folder for ``index.html``, ``figures/`` (PNG and SVG) and ``tables/`` (CSV); made when
        absent.

    Returns:
        Path of the page. It holds its figures and loads nothing.

    Raises:
        ValueError: the folder cannot be written, or a record lacks the plan's final loss.
    """
    # The curves of the tuned points are needed for the noise, the slowdown and the figure: read them once.
    losses = functools.cache(store_losses(store))
    comparison = compare_plan(store, plan, losses=losses)
    try:
        for folder in ("figures", "tables"):
            (Path(out_dir) / folder).mkdir(parents=True, exist_ok=True)
        _write_tables(comparison, Path(out_dir) / "tables")
        figures = _write_figures(comparison, losses, Path(out_dir) / "figures")
        notes = caveats(comparison) + provenance_caveats(comparison.runs)
        content = [
            _head(comparison, notes),
            figures.get("gap", ""),
            _gap_section(comparison),
            _settings_section(comparison),
            *(figures.get(name, "") for name in ("tuned", "sensitivity", "heatmap", "curves")),
            section("Provenance", provenance(comparison.runs, plan, store.problems, store.path)),
            section("How to read this", bullets(_READING)),
        ]
        path = Path(out_dir) / "index.html"
        path.write_text(page(comparison.title, *content), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"Expected a folder that can be written, got {out_dir} ({error}); change --out.") from error
    return path


_READING = (
    "Tuned point: the lowest final loss over the whole grid, for one optimizer and batch size, on the"
    " mean over seeds. A diverged setting counts as infinitely bad.",
    "Gap: tuned loss of the reference minus tuned loss of the challenger. Positive: the challenger is"
    " better. The relative gap is in percent of the reference's loss.",
    "Uncertainty: standard error over seeds (with one seed: minibatch noise left in the final loss), "
    "and half the difference to the best neighbour on the grid, in quadrature over both optimizers. A"
    " gap below it is not resolved.",
    "On the edge: the best value of an axis is the smallest or largest that was tried, so a better "
    "one may lie outside. Such points are drawn open.",
    "Slowdown: share of the budget after which the better optimizer has reached the other's final loss.",
    "Crossover: batch size at which the gap passes zero, read off the monotone interpolation; the "
    "interval runs from the last batch size at which one optimizer is resolved to be better to the "
    "first at which the other is.",
)

_FINAL_LOSSES = {
    "ema": "the last value of the exponential moving average (alpha 0.01) of the per-step train loss",
    "min_last_1pct": "the minimum of the train loss over the last 1% of the steps",
    "mean_last_1pct": "the mean of the train loss over the last 1% of the steps",
    "mean_last_100": "the mean of the train loss over the last 100 steps",
}


def _head(comparison: Comparison, notes: list[str]) -> Markup:
    seeds = sorted(comparison.runs["seed"].unique())
    loss = _FINAL_LOSSES.get(comparison.final_loss, comparison.final_loss)
    several = len(comparison.crossovers) > 1
    answers = [
        element("p", f"{_pair(found)}: " if several else "", found.sentence(), class_="answer")
        for found in comparison.crossovers
    ]
    what = f"{len(comparison.runs)} runs, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}."
    return Markup(
        element("h1", comparison.title)
        + element("p", comparison.subtitle, class_="subtitle")
        + "".join(answers)
        + element("p", f"{what} The final loss is {loss}.")
        + bullets(notes, class_="caveats")
    )


def _pair(found: Crossover) -> str:
    return f"{optimizer_title(found.challenger)} against {optimizer_title(found.reference)}"


def _gap_section(comparison: Comparison) -> Markup:
    parts = []
    for (reference, challenger), gaps in comparison.gaps.groupby(["reference", "challenger"], sort=False):
        names = optimizer_title(str(reference)), optimizer_title(str(challenger))
        head = ["batch size", *names, "gap", "uncertainty", "relative gap", "better", "slowdown"]
        rows = [
            [
                row["batch_size"],
                loss_text(row["reference_loss"]),
                loss_text(row["challenger_loss"]),
                _number(row["gap"], "+.4f"),
                _number(row["uncertainty"], ".4f"),
                _number(row["relative_gap"], "+.2f", " %"),
                _better(row),
                _number(100 * row["slowdown"], ".0f", " %"),
            ]
            for _, row in gaps.iterrows()
        ]
        parts += [
            element("p", f"Gap = {names[0]} \N{MINUS SIGN} {names[1]}; positive: {names[1]} better."),
            table(head, rows, left=(6,)),
        ]
    if not parts:
        return section("The gap", element("p", "The sweep has one optimizer, so there is no gap."))
    return section("The gap", *parts, _download("gap"))


def _better(row: pd.Series) -> Markup:
    words = better_text(row)
    if row["better"] is None:
        found = element("span", words, class_="open")
    else:
        found = element("span", words, class_=str(row["better"]) if row["better"] in ("adam", "sgd") else "winner")
    return Markup(found + (element("span", " (provisional)", class_="pending") if row["provisional"] else ""))


def _settings_section(comparison: Comparison) -> Markup:
    several = bool((comparison.tuned["seeds"] > 1).any())
    head = ["batch size", "optimizer", "winning setting", "flags", "final loss"]
    head += ["seeds", "spread"] if several else []
    head += ["finished", "diverged", "no result"]
    rows = [
        [
            point.batch_size,
            optimizer_title(point.optimizer),
            format_setting(point.setting) if point.run_ids else "none",
            _flags(point),
            loss_text(point.loss),
            *([point.seeds, _number(point.spread, ".4f")] if several else []),
            point.finished,
            point.diverged,
            point.failed + point.interrupted + point.missing,
        ]
        for point in comparison.tuned.itertuples(index=False)
    ]
    return section("Winning settings", table(head, rows, left=(1, 2, 3)), _download("tuned", "runs"))


def _flags(point: Any) -> Markup:
    flags = [element("span", f"edge: {edge_text(point.edges)}", class_="edge")] if point.edges else []
    if point.untuned:
        flags.append(text(f"single value: {', '.join(point.untuned)}"))
    return Markup(" ".join(flags))


def _number(value: float, form: str, unit: str = "") -> str:
    if math.isnan(value):
        return "\N{EN DASH}"
    return format(value, form).replace("-", "\N{MINUS SIGN}").replace("inf", "\N{INFINITY}") + unit


def _download(*names: str) -> Markup:
    links = " ".join(element("a", f"{name}.csv", href=f"tables/{name}.csv") for name in names)
    return element("p", "As a file: ", Markup(links), class_="subtitle")


def _write_tables(comparison: Comparison, folder: Path) -> None:
    gaps, tuned, runs = comparison.gaps.copy(), comparison.tuned.copy(), comparison.runs.copy()
    for frame in (gaps, tuned, runs):
        for column in frame.columns:
            if column.endswith("setting"):
                frame[column] = frame[column].map(format_setting)
            elif column.endswith("edges"):
                frame[column] = frame[column].map(edge_text)
            elif column in ("untuned", "run_ids"):
                frame[column] = frame[column].map(" ".join)
    axes = pd.DataFrame([dict(setting) for setting in comparison.runs["setting"]], index=runs.index)
    runs = pd.concat([runs, axes.add_prefix("axis_")], axis=1)
    for name, frame in (("gap", gaps), ("tuned", tuned), ("runs", runs)):
        frame.to_csv(folder / f"{name}.csv", index=False)


def _write_figures(comparison: Comparison, losses: LossReader, folder: Path) -> dict[str, Markup]:
    labels = list(comparison.runs["optimizer"].drop_duplicates())
    runs, tuned, gaps = comparison.runs, comparison.tuned, comparison.gaps
    drawings: dict[str, Callable[[], Figure | None]] = {
        "gap": lambda: gap_figure(gaps, comparison.crossovers, labels) if gaps["gap"].notna().any() else None,
        "tuned": lambda: tuned_figure(tuned, labels),
        "sensitivity": lambda: sensitivity_figure(runs, labels),
        "heatmap": lambda: heatmap_figure(runs, labels),
        "curves": lambda: curves_figure(tuned, losses, labels),
    }
    pictures: dict[str, Markup] = {}
    if not runs["loss"].notna().any():
        return pictures
    with style():
        for name, draw in drawings.items():
            figure = draw()
            if figure is not None:
                heading, alt, caption = _CAPTIONS[name]
                _, svg = save(figure, folder, name)
                pictures[name] = Markup((element("h2", heading) if heading else "") + picture(svg, alt, caption))
    return pictures


_CAPTIONS = {
    "gap": (
        "",
        "Gap between the tuned optimizers against batch size, relative and absolute, with the crossover.",
        "Gap against batch size, with uncertainty. Dashed: least-squares line in log2 of the batch "
        "size, one octave past the data. Open points: a tuned point lies on the edge of its grid. "
        "Grey band: interval of the crossover.",
    ),
    "tuned": (
        "The tuned points",
        "Tuned final loss and winning learning rate of each optimizer against batch size.",
        "Left: tuned final loss with uncertainty. Right: the learning rate that won. Open points lie on the "
        "edge of the grid.",
    ),
    "sensitivity": (
        "Sensitivity to the learning rate",
        "Final loss against learning rate, one line per momentum, one panel per optimizer and batch size.",
        "Ring: tuned point. Triangles: losses beyond the panel. Crosses above it: "
        "diverged runs. Further axes are at their best value.",
    ),
    "heatmap": (
        "The whole grid",
        "Maps of the final loss over learning rate and momentum, one per optimizer and batch size.",
        "Numbers: final loss. Colour: excess over the best of the map. Frame: the best setting. "
        "Grey: diverged. White: no result.",
    ),
    "curves": (
        "The best curves",
        "Smoothed train loss of the tuned points against the share of the budget, one panel per batch size.",
        "Moving average of the train loss at the tuned settings (mean over seeds). Dotted: from the "
        "worse optimizer's final loss to where the better one reached it.",
    ),
}
