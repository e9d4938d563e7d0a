"""The sections of a report: what the numbers are, in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from suite.analysis.branches import branch_sentences
from suite.analysis.comparison import Comparison
from suite.analysis.lr_width import lr_width_sentences
from suite.analysis.published import published_gaps
from suite.analysis.report.page import Markup, Tipped, bullets, download, element, section, table, text
from suite.analysis.theory_fit import theory_fit
from suite.analysis.tuning_cost import tuning_cost_sentences
from suite.analysis.words import (
    UNKNOWN,
    better_text,
    edge_text,
    format_setting,
    format_value,
    loss_text,
    number,
    optimizer_title,
    pair_text,
    seeds_text,
    series_text,
)
from suite.records import FINAL_LOSSES

MOST_FIRST = 12
"""Comparisons that are answered before the first figure; of more, each in a sentence, they follow it."""


def head(comparison: Comparison, notes: Sequence[str]) -> Markup:
    """The question, its answer in a sentence per pair, and what a reader must know first."""
    seeds = sorted(comparison.runs["seed"].unique())
    definitions = {"": comparison.final_loss, **comparison.panel_losses}
    loss = "; ".join(
        f"{f'for {task}, ' if task else ''}{FINAL_LOSSES.get(definition, definition)}"
        for task, definition in definitions.items()
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
    crossovers = comparison.crossovers
    tasks = len({crossover.task for crossover in crossovers}) > 1
    pairs = len({(crossover.reference, crossover.challenger) for crossover in crossovers}) > 1
    names = [
        f"{series_text(x.task, x.reference, x.challenger, tasks=tasks, pairs=pairs)}: " if tasks or pairs else ""
        for x in crossovers
    ]
    named = list(zip(names, crossovers, strict=True))
    if len(named) > 4:
        return Markup(bullets([name + crossover.sentence() for name, crossover in named]))
    return Markup(
        "".join(
            element("p", name, crossover.sentence(), class_="answer")
            + (element("p", estimates, class_="subtitle") if crossover.in_range and estimates else "")
            for name, crossover in named
            for estimates in [crossover.estimates()]
        )
    )


def gap_section(comparison: Comparison) -> Markup:
    """The gap tables, a pair of optimizers each; winning settings are tooltips of the losses."""
    parts = []
    for (reference, challenger), gaps in comparison.gaps.groupby(["reference", "challenger"], sort=False):
        names = optimizer_title(str(reference)), optimizer_title(str(challenger))
        columns = ["batch size", *names, *GAP_HEADINGS, "slowdown", "seeds needed"]
        rows = [
            [
                row["batch_size"],
                *gap_cells(row),
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
    printed = published_gaps(comparison.published, comparison.gaps)
    if printed.empty:
        return Markup("")
    several = comparison.runs["task"].nunique() > 1
    columns = ["panel", "batch size", "pair", "paper's gap", "paper's %", "our gap", "our %", "read from"]
    rows = [
        [
            row.task or UNKNOWN,
            UNKNOWN if pd.isna(row.batch_size) else format_value(row.batch_size),
            pair_text(row.reference, row.challenger),
            number(row.published_gap, "+.3f"),
            number(row.published_relative_gap, "+.2f", " %"),
            number(row.gap, "+.4f"),
            number(row.relative_gap, "+.2f", _at(row)),
            row.source,
        ]
        for row in printed.itertuples(index=False)
    ]
    words = (
        "The paper's values are at the paper's scale; they compare with ours only where task, budget and network are "
        "the same."
    )
    if several:
        body = table(columns, rows, left=(0, 2, 7))
    else:
        body = table(columns[1:], [row[1:] for row in rows], left=(1, 6))
    return section("Beside the paper", element("p", words), body)


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


GAP_HEADINGS = ("gap", "uncertainty", "relative gap", "better")
"""Of `gap_cells`, after the two optimizers."""


def gap_cells(row: pd.Series) -> list[object]:
    """Both losses with their settings as tooltips, the gap, and who is better in that optimizer's colour."""
    losses = (
        Tipped(loss_text(row[f"{role}_loss"]), format_setting(row[f"{role}_setting"]))
        for role in ("reference", "challenger")
    )
    label = row["better"]
    color = "open" if label is None else label if label in ("adam", "sgd") else "winner"
    pending = element("span", " (provisional)", class_="pending") if row["provisional"] else ""
    return [
        *losses,
        number(row["gap"], "+.4f"),
        number(row["uncertainty"], ".4f"),
        number(row["relative_gap"], "+.2f", " %"),
        Markup(element("span", better_text(row), class_=color) + pending),
    ]


def _flags(point: Any) -> Markup:
    flags = [element("span", f"edge: {edge_text(point.edges)}", class_="edge")] if point.edges else []
    if point.untuned:
        flags.append(text(f"single value: {', '.join(point.untuned)}"))
    return Markup(" ".join(flags))
