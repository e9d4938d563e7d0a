"""The sections of a report: what the numbers are, in words and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from suite.analysis.branches import branch_sentences
from suite.analysis.columns import COUNTS, POINT, Column, cells
from suite.analysis.comparison import Comparison
from suite.analysis.lr_width import lr_width_sentences
from suite.analysis.report.page import Markup, Tipped, bullets, download, element, section, table, text
from suite.analysis.theory_fit import theory_fit
from suite.analysis.tuning_cost import tuning_cost_sentences
from suite.analysis.verdict import LEVEL
from suite.analysis.words import (
    UNKNOWN,
    counted,
    edge_text,
    format_setting,
    format_value,
    grouped,
    loss_text,
    number,
    optimizer_title,
    pair_text,
    seeds_needed_text,
    series_names,
    verdict_text,
)
from suite.records import FINAL_LOSSES

MOST_FIRST = 12
"""Largest number of comparisons whose answers stand before the first figure; the answers of more follow it."""


def head(comparison: Comparison, notes: Sequence[str]) -> Markup:
    """The question, its answer in a sentence per pair, and what a reader must know first."""
    definitions = {"": comparison.final_loss, **comparison.panel_losses}
    loss = "; ".join(
        f"{f'for {task}, ' if task else ''}{FINAL_LOSSES.get(definition, definition)}"
        for task, definition in definitions.items()
    )
    what = f"{', '.join(filter(None, [counted(len(comparison.runs), 'run'), comparison.seeds_text]))}."
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
    return len(comparison.crossovers_apart) > MOST_FIRST


def answers(comparison: Comparison) -> Markup:
    """One sentence per task (or trunk) and pair of optimizers."""
    branches = bullets(branch_sentences(comparison.branch_gaps))
    crossovers = comparison.crossovers_apart
    names = series_names([(x.task, x.reference, x.challenger) for x in crossovers])
    named = [(f"{name}: " if name else "", x) for name, x in zip(names, crossovers, strict=True)]
    if len(named) > 4:
        return Markup(branches + bullets(grouped([(name[:-2], crossover.sentence()) for name, crossover in named])))
    return Markup(
        branches
        + "".join(
            element("p", name, crossover.sentence(), class_="answer decided" if crossover.decided else "answer")
            for name, crossover in named
        )
    )


def gap_section(comparison: Comparison) -> Markup:
    """The gap tables, a pair of optimizers each."""
    after = [
        Column("slowdown", lambda row: number(100 * row["slowdown"], ".0f", " %")),
        Column("seeds needed", seeds_needed_text),
    ]
    parts = _gap_tables(comparison.gaps, "", [Column("batch size", lambda row: row["batch_size"])], after)
    if not parts:
        return section("The gap", element("p", "The sweep has one optimizer, so there is no gap."))
    fit = theory_fit(comparison.gaps) if comparison.runs["task"].nunique() == 1 else None
    if fit is not None:
        parts.append(element("p", f"Theory's form of the gap, c0 + c1 / sqrt(B) + c2 B: {fit.sentence()}"))
    return section("The gap", *parts)


def branching_section(comparison: Comparison) -> Markup:
    """All gaps by trunk and branch point, and what became of the trunks; nothing for a sweep without a trunk."""
    if not comparison.points:
        return Markup("")
    gaps = comparison.branch_gaps
    panel = [Column("panel", lambda row: row["panel"], words=True)]
    size = [Column("batch size", lambda row: row["batch_size"])]
    where = [
        *(panel if gaps["panel"].nunique() > 1 else []),
        Column("trunk", lambda row: optimizer_title(row["trunk"]), words=True),
        Column("after", lambda row: row["after"]),
        *(size if gaps["batch_size"].nunique() > 1 else []),
    ]
    trunks = [
        Column("trunk", _trunk_title, words=True),
        Column("batch size", lambda run: run.batch_size),
        Column("seed", lambda run: run.seed),
        Column("steps", lambda run: run.steps),
        Column("status", lambda run: run.status, words=True),
        Column("its own final loss", lambda run: number(run.loss, ".4f")),
    ]
    return section(
        "From the trunks",
        element("p", "Trunks: one optimizer at one setting, whose weights the branches start from."),
        table(*cells(trunks, comparison.trunks.itertuples(index=False))),
        *_gap_tables(gaps, " of the branches", where),
    )


def _trunk_title(run: Any) -> str:
    """A trunk's panel and optimizer, for people."""
    return f"{run.task.removesuffix(f'{run.optimizer} trunk')}{optimizer_title(run.optimizer)} trunk"


def _gap_tables(gaps: pd.DataFrame, of: str, before: Sequence[Column], after: Sequence[Column] = ()) -> list[Markup]:
    """A table per pair of optimizers below what its signs mean; tuned settings are tooltips of the losses."""
    parts = []
    for (reference, challenger), rows in gaps.groupby(["reference", "challenger"], sort=False):
        names = optimizer_title(str(reference)), optimizer_title(str(challenger))
        columns = [
            *before,
            *(Column(name, _loss_cell(role)) for name, role in zip(names, ("reference", "challenger"), strict=True)),
            Column("gap", lambda row: number(row["gap"], "+.4f")),
            Column(f"\N{PLUS-MINUS SIGN} ({LEVEL:.0%})", lambda row: number(row["uncertainty"], ".4f")),
            Column("relative gap", lambda row: number(row["relative_gap"], "+.2f", " %")),
            Column("verdict", _verdict, words=True),
            *after,
        ]
        words = f"Gap = {names[0]} \N{MINUS SIGN} {names[1]}{of}; positive: {names[1]} ahead."
        parts += [element("p", words), table(*cells(columns, (row for _, row in rows.iterrows())))]
    return parts


def _loss_cell(role: str) -> Callable[[pd.Series], Tipped]:
    return lambda row: Tipped(loss_text(row[f"{role}_loss"]), format_setting(row[f"{role}_setting"]))


def _verdict(row: pd.Series) -> Markup:
    """The verdict; where somebody is better, in that optimizer's colour."""
    label = row["better"]
    color = "open" if label is None else label if label in ("adam", "sgd") else "winner"
    pending = element("span", " (provisional)", class_="pending") if row["provisional"] else ""
    return Markup(element("span", verdict_text(row), class_=color) + pending)


def _at(row: Any) -> str:
    """The unit of our relative gap, with our batch size where the paper's is not known."""
    return f" % at {row.own_batch_size:.0f}" if pd.isna(row.batch_size) and pd.notna(row.own_batch_size) else " %"


def published_section(comparison: Comparison) -> Markup:
    """The paper's printed values beside ours, each with its source; nothing where none is known."""
    gaps, losses = comparison.published_gaps, comparison.published_losses
    if gaps.empty and losses.empty:
        return Markup("")
    panel = [Column("panel", lambda row: row.task or UNKNOWN, words=True)]
    where = [
        *(panel if comparison.runs["task"].nunique() > 1 else []),
        Column("batch size", lambda row: UNKNOWN if pd.isna(row.batch_size) else format_value(row.batch_size)),
    ]
    read_from = Column("read from", lambda row: row.source, words=True)
    of_gaps = [
        *where,
        Column("pair", lambda row: pair_text(row.reference, row.challenger), words=True),
        Column("paper's gap", lambda row: number(row.published_gap, "+.3f")),
        Column("paper's %", lambda row: number(row.published_relative_gap, "+.2f", " %")),
        Column("our gap", lambda row: number(row.gap, "+.4f")),
        Column("our %", lambda row: number(row.relative_gap, "+.2f", _at(row))),
        read_from,
    ]
    of_losses = [
        *where,
        Column("optimizer", lambda row: optimizer_title(row.optimizer), words=True),
        Column("paper's loss", lambda row: number(row.published_loss, ".3f")),
        Column("our tuned loss", lambda row: number(row.loss, ".4f")),
        read_from,
    ]
    words = (
        "The paper's values are at the paper's scale; they compare with ours only where task, budget and network are "
        "the same. The loss of a perplexity is its logarithm."
    )
    tables = [
        table(*cells(columns, printed.itertuples(index=False)))
        for columns, printed in ((of_gaps, gaps), (of_losses, losses))
        if len(printed)
    ]
    return section("Beside the paper", element("p", words), *tables)


def settings_section(comparison: Comparison) -> Markup:
    """The winning settings with their flags and counts."""
    several = bool((comparison.tuned["seeds"] > 1).any())
    apart = bool(comparison.tuned["apart"].any())
    seeds = [
        Column("mean over seeds", lambda point: loss_text(point.mean_loss)),
        Column("seeds", lambda point: point.seeds),
        Column("spread", lambda point: number(point.spread, ".4f")),
    ]
    chosen = [Column("loss when chosen", lambda point: loss_text(point.selection_loss))]
    columns = [
        *POINT,
        Column("tuned setting", lambda p: format_setting(p.setting) if p.run_ids else "none", words=True),
        Column("flags", _flags, words=True),
        Column("tuned loss", lambda point: loss_text(point.loss)),
        *(seeds if several else []),
        *(chosen if apart else []),
        *COUNTS,
    ]
    return section("Tuned settings", table(*cells(columns, comparison.tuned.itertuples(index=False))))


def cost_section(comparison: Comparison, figure: Markup) -> Markup:
    """What tuning costs: the figure, and whether it depends on the number of trials whose expected loss is lower."""
    return Markup(figure + bullets(tuning_cost_sentences(comparison.tuning_cost)))


def width_section(comparison: Comparison, figure: Markup) -> Markup:
    """Sensitivity to the learning rate: the figure, and the width of the good range as a number."""
    widths = comparison.lr_widths
    if widths.empty:
        return figure
    columns = [
        *POINT,
        Column("from lr", lambda row: format_value(float(f"{row.low:.3g}"))),
        Column("to lr", lambda row: format_value(float(f"{row.high:.3g}"))),
        Column("width in decades", lambda row: f"{'at least ' if row.open else ''}{row.width:.2f}"),
    ]
    rows = widths.sort_values(["batch_size"], kind="stable").itertuples(index=False)
    what = f"Range of learning rates within {widths['percent'].iloc[0]:g}% of the best loss, other axes at their best:"
    sentences = bullets(lr_width_sentences(widths, comparison.pairs))
    return Markup(figure + sentences + element("p", what) + table(*cells(columns, rows)))


BESIDE = (
    "runs", "tuning_cost", "branches", "trunks", "steps_to_target", "steps_retrained", "critical_batch_size",
    "tuned_laws", "budget_law", "crossover_by_budget", "collapse", "effects", "explained",
)  # fmt: skip
"""Tables that lie beside the page, where they are."""


def downloads(folder: Path) -> Markup:
    """Links to the tables: the short ones are in the page itself, the long ones beside it."""
    embedded = [folder / f"{name}.{kind}" for name in ("gap", "tuned", "lr_width") for kind in ("csv", "tex")]
    beside = [folder / f"{name}.csv" for name in BESIDE]
    beside = [path for path in beside if path.exists()]
    links = [download(path, embedded=True) for path in embedded] + [download(path, embedded=False) for path in beside]
    return element("p", "Tables as files: ", Markup(" \N{MIDDLE DOT} ".join(links)), class_="subtitle downloads")


def _flags(point: Any) -> Markup:
    flags = [element("span", f"edge: {edge_text(point.edges)}", class_="edge")] if point.edges else []
    if point.untuned:
        flags.append(text(f"single value: {', '.join(point.untuned)}"))
    return Markup(" ".join(flags))
