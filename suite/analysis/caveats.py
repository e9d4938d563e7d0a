"""What a reader must know before believing the numbers."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from suite.analysis.comparison import START_LEFT, Comparison
from suite.analysis.seeds import CONFIDENCE
from suite.analysis.slowdown import slowdown_sentences
from suite.analysis.table import STATUSES
from suite.analysis.tuning_cost import tuning_cost_sentences
from suite.analysis.words import batch_sizes_text, edge_text, optimizer_title, seeds_text

MOST_NAMED = 6
"""Largest number of points that one sentence names; the tables mark all of them."""


def caveats(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the numbers, one sentence each; for the terminal and the report."""
    runs, tuned = comparison.runs, comparison.tuned
    notes = list(comparison.notes)
    unfinished = {status: int(tuned[status].sum()) for status in STATUSES[2:] if tuned[status].sum()}
    if unfinished:
        what = ", ".join(f"{count} {status}" for status, count in unfinished.items())
        notes.append(
            f"{sum(unfinished.values())} of {len(runs)} runs have no result ({what}): "
            f"{batch_sizes_text(tuned.loc[tuned['provisional'], 'batch_size'])} provisional."
        )
    edges = tuned[tuned["edges"].map(len) > 0]
    if len(edges):
        points = _named(comparison, edges, edges["optimizer"], edges["edges"].map(edge_text))
        notes.append(
            f"{len(edges)} of {len(tuned)} tuned points lie on the edge of their grid, so are not tuned: {points}"
        )
    for optimizer, points in tuned.groupby("optimizer", sort=False):
        names = sorted({name for untuned in points["untuned"] for name in untuned})
        if names:
            notes.append(f"{optimizer_title(str(optimizer))} was not tuned over {', '.join(names)}: a single value.")
    notes += _seed_notes(comparison)
    definitions = {
        task: comparison.panel_losses.get(task, comparison.final_loss) for task in comparison.gaps["task"].unique()
    }
    notes += slowdown_sentences(comparison.gaps, definitions)
    if comparison.tuned_by and comparison.tuned_by != comparison.final_loss:
        notes.append(
            f"The sweep extended its grids by the final loss '{comparison.tuned_by}'; here everything is compared by "
            f"'{comparison.final_loss}'."
        )
    short = comparison.short_runs
    if len(short):
        worst = short.loc[short["start_share"].idxmax()]
        notes.append(
            f"Short runs: at {batch_sizes_text(short['batch_size'])} the moving average still holds more than "
            f"{START_LEFT:.0%} of the first loss (at {int(worst['batch_size'])}: {worst['start_share']:.0%} "
            f"after {int(worst['steps'])} steps)."
        )
    notes += [x for x in tuning_cost_sentences(comparison.tuning_cost) if "does not depend" not in x]
    for crossover in comparison.crossovers:
        if crossover.sign_changes > 1:
            changes = f"changes sign {crossover.sign_changes} times"
            notes.append(f"The gap of {crossover.task} {changes}; the crossover assumes one.")
    return notes


def _seed_notes(comparison: Comparison) -> list[str]:
    """What the number of seeds does not cover, and how many seeds a claim would need."""
    tuned, gaps = comparison.tuned, comparison.gaps
    measured = tuned[tuned["seeds"] > 0]
    if measured.empty:
        return []
    notes = []
    if measured["seeds"].max() == 1:
        notes.append(
            "One seed: the uncertainty covers minibatch noise and the grid, not the spread between seeds; how many "
            "seeds a claim needs cannot be told from one."
        )
    else:
        short = gaps[gaps["seeds_needed"].notna() & (gaps["seeds_needed"] > gaps["seeds"])]
        if len(short):
            needs = [f"{seeds_text(row.seeds_needed)}, has {row.seeds}" for row in short.itertuples(index=False)]
            notes.append(
                f"To claim the sign of the gap at {CONFIDENCE:.0%} more seeds are needed at {len(short)} of "
                f"{len(gaps)} points: {_named(comparison, short, short['challenger'], needs)}"
            )
    if not measured["apart"].any():
        notes.append(
            "The seeds that chose the tuned points also give their losses, which are too low on average; report_seeds "
            "in the sweep's YAML trains the chosen settings again with others."
        )
    return notes


def _named(comparison: Comparison, rows: pd.DataFrame, labels: Iterable[str], remarks: Iterable[str]) -> str:
    """The first points of a table, each with a remark (``SGD at 4 (lr largest)``), and how many follow."""
    several = comparison.runs["task"].nunique() > 1
    points = [
        f"{optimizer_title(label)} at {size}{f' on {task}' if several else ''} ({remark})"
        for label, size, task, remark in zip(labels, rows["batch_size"], rows["task"], remarks, strict=True)
    ]
    more = [f"and {len(points) - MOST_NAMED} more"] if len(points) > MOST_NAMED else []
    return "; ".join(points[:MOST_NAMED] + more) + "."
