"""The sections of a report: what the numbers are, in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from suite.analysis.branches import branch_sentences
from suite.analysis.comparison import Comparison
from suite.analysis.crossover import Crossover
from suite.analysis.lr_width import lr_width_sentences
from suite.analysis.published import published_gaps
from suite.analysis.report.page import Markup, Tipped, bullets, download, element, section, table, text
from suite.analysis.theory_fit import theory_fit
from suite.analysis.tuning_cost import tuning_cost_sentences
from suite.analysis.words import (
    better_text,
    edge_text,
    format_setting,
    format_value,
    loss_text,
    number,
    optimizer_title,
    seeds_text,
)
from suite.records import FINAL_LOSSES

MOST_FIRST = 12
"""Comparisons that are answered before the first figure; of more, each in a sentence, they follow it."""


def head(comparison: Comparison, notes: Sequence[str]) -> Markup:
    """The question, its answer in a sentence per pair, and what a reader must know first."""
    seeds = sorted(comparison.runs["seed"].unique())
    loss = "; ".join(
        [FINAL_LOSSES.get(comparison.final_loss, comparison.final_loss)]
        + [f"for {task}, {FINAL_LOSSES.get(own, own)}" for task, own in comparison.panel_losses.items()]
    )
    what = f"{len(comparison.runs)} runs, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}."
    return Markup(
        element("h1", comparison.title)
        + element("p", comparison.subtitle, class_="subtitle")
        + (Markup("") if _many(comparison) else answers(comparison))
        + element("p", f"{what} The final loss is {loss}.")
        + bullets(notes, class_="caveats")
    )


def answers_section(comparison: Comparison) -> Markup:
    """The answers of a page that has too many for its head."""
    return section("Every comparison in a sentence", answers(comparison)) if _many(comparison) else Markup("")


def _many(comparison: Comparison) -> bool:
    return not comparison.points and len(comparison.crossovers) > MOST_FIRST


def answers(comparison: Comparison) -> Markup:
    """One sentence per task (or trunk) and pair of optimizers, with the crossover's estimates below."""
    if comparison.points:
        return Markup(bullets(branch_sentences(comparison.branch_gaps)))
    found = comparison.crossovers
    several = len(found) > 1
    if len(found) > 4:
        return Markup(bullets([_named(x, comparison) + x.sentence() for x in found]))
    return Markup(
        "".join(
            element("p", _named(x, comparison) if several else "", x.sentence(), class_="answer")
            + (element("p", x.estimates(), class_="subtitle") if x.in_range and x.estimates() else "")
            for x in found
        )
    )


def _named(found: Crossover, comparison: Comparison) -> str:
    tasks = {x.task for x in comparison.crossovers}
    pairs = {(x.reference, x.challenger) for x in comparison.crossovers}
    pair = f"{optimizer_title(found.challenger)} against {optimizer_title(found.reference)}"
    parts = ([found.task] if len(tasks) > 1 else []) + ([pair] if len(pairs) > 1 else [])
    return f"{', '.join(parts)}: "


def gap_section(comparison: Comparison) -> Markup:
    """The gap tables, a pair of optimizers each; winning settings are tooltips of the losses."""
    parts = []
    for (reference, challenger), gaps in comparison.gaps.groupby(["reference", "challenger"], sort=False):
        names = optimizer_title(str(reference)), optimizer_title(str(challenger))
        columns = ["batch size", *names, "gap", "uncertainty", "relative gap", "better", "slowdown", "seeds needed"]
        rows = [
            [
                row["batch_size"],
                Tipped(loss_text(row["reference_loss"]), format_setting(row["reference_setting"])),
                Tipped(loss_text(row["challenger_loss"]), format_setting(row["challenger_setting"])),
                number(row["gap"], "+.4f"),
                number(row["uncertainty"], ".4f"),
                number(row["relative_gap"], "+.2f", " %"),
                better_markup(row),
                number(100 * row["slowdown"], ".0f", " %"),
                seeds_text(row["seeds_needed"]),
            ]
            for _, row in gaps.iterrows()
        ]
        parts += [
            element("p", f"Gap = {names[0]} \N{MINUS SIGN} {names[1]}; positive: {names[1]} better."),
            table(columns, rows, left=(6,)),
        ]
    if not parts:
        return section("The gap", element("p", "The sweep has one optimizer, so there is no gap."))
    fit = theory_fit(comparison.gaps) if comparison.runs["task"].nunique() == 1 else None
    if fit is not None:
        parts.append(element("p", f"Theory's form of the gap, c0 + c1 / sqrt(B) + c2 B: {fit.sentence()}"))
    return section("The gap", *parts)


def _at(row: Any) -> str:
    """The unit, with our batch size where the paper's is not known."""
    return f" % at {row.own_batch_size:.0f}" if pd.isna(row.batch_size) and pd.notna(row.own_batch_size) else " %"


def published_section(comparison: Comparison) -> Markup:
    """The paper's printed values beside ours, each with its source; nothing where none is known."""
    known = published_gaps(comparison.published, comparison.gaps)
    if known.empty:
        return Markup("")
    several = comparison.runs["task"].nunique() > 1
    columns = [
        *(["panel"] if several else []),
        "batch size",
        "pair",
        "paper's gap",
        "paper's %",
        "our gap",
        "our %",
        "read from",
    ]
    rows = [
        [
            *([row.task or "\N{EN DASH}"] if several else []),
            "\N{EN DASH}" if pd.isna(row.batch_size) else format_value(row.batch_size),
            f"{optimizer_title(row.challenger)} against {optimizer_title(row.reference)}",
            number(row.published_gap, "+.3f"),
            number(row.published_relative_gap, "+.2f", " %"),
            number(row.gap, "+.4f"),
            number(row.relative_gap, "+.2f", _at(row)),
            row.source,
        ]
        for row in known.itertuples(index=False)
    ]
    words = (
        "The paper's values are at the paper's scale; they compare with ours only where task, budget and network are "
        "the same."
    )
    left = (0, 2, 7) if several else (1, 6)
    return section("Beside the paper", element("p", words), table(columns, rows, left=left))


def settings_section(comparison: Comparison) -> Markup:
    """The winning settings with their flags and counts."""
    several = bool((comparison.tuned["seeds"] > 1).any())
    apart = bool(comparison.tuned["apart"].any())
    columns = ["batch size", "optimizer", "winning setting", "flags", "final loss"]
    columns += (["seeds", "spread"] if several else []) + (["loss when chosen"] if apart else [])
    columns += ["finished", "diverged", "no result"]
    rows = [
        [
            point.batch_size,
            optimizer_title(point.optimizer),
            format_setting(point.setting) if point.run_ids else "none",
            _flags(point),
            loss_text(point.loss),
            *([point.seeds, number(point.spread, ".4f")] if several else []),
            *([loss_text(point.selection_loss)] if apart else []),
            point.finished,
            point.diverged,
            point.failed + point.interrupted + point.missing,
        ]
        for point in comparison.tuned.itertuples(index=False)
    ]
    return section("Winning settings", table(columns, rows, left=(1, 2, 3)))


def cost_section(comparison: Comparison, figure: Markup) -> Markup:
    """What tuning costs: the figure, and whether the winner depends on the number of trials."""
    return Markup(figure + bullets(tuning_cost_sentences(comparison.tuning_cost)))


def width_section(comparison: Comparison, figure: Markup) -> Markup:
    """Sensitivity to the learning rate: the figure, and the width of the good range as a number."""
    widths = comparison.lr_widths
    if widths.empty:
        return figure
    columns = ["batch size", "optimizer", "from lr", "to lr", "width in decades"]
    rows = [
        [
            row.batch_size,
            optimizer_title(row.optimizer),
            format_value(float(f"{row.low:.3g}")),
            format_value(float(f"{row.high:.3g}")),
            f"{'at least ' if row.open else ''}{row.width:.2f}",
        ]
        for row in widths.sort_values(["batch_size"], kind="stable").itertuples(index=False)
    ]
    what = f"Range of learning rates within {widths['percent'].iloc[0]:g}% of the best loss, other axes at their best:"
    sentences = bullets(lr_width_sentences(widths, comparison.pairs))
    return Markup(figure + sentences + element("p", what) + table(columns, rows, left=(1,)))


def downloads(folder: Path) -> Markup:
    """Links to the tables: the short ones are in the page itself, the long ones beside it."""
    embedded = [folder / f"{name}.{kind}" for name in ("gap", "tuned", "lr_width") for kind in ("csv", "tex")]
    beside = [folder / f"{name}.csv" for name in ("runs", "tuning_cost", "branches", "trunks")]
    beside = [path for path in beside if path.exists()]
    links = [download(path, embedded=True) for path in embedded] + [download(path, embedded=False) for path in beside]
    return element("p", "Tables as files: ", Markup(" \N{MIDDLE DOT} ".join(links)), class_="subtitle downloads")


def better_markup(row: pd.Series) -> Markup:
    """Who is better at one batch size, in that optimizer's colour."""
    words = better_text(row)
    if row["better"] is None:
        found = element("span", words, class_="open")
    else:
        found = element("span", words, class_=str(row["better"]) if row["better"] in ("adam", "sgd") else "winner")
    return Markup(found + (element("span", " (provisional)", class_="pending") if row["provisional"] else ""))


def _flags(point: Any) -> Markup:
    flags = [element("span", f"edge: {edge_text(point.edges)}", class_="edge")] if point.edges else []
    if point.untuned:
        flags.append(text(f"single value: {', '.join(point.untuned)}"))
    return Markup(" ".join(flags))
