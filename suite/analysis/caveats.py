"""What a reader must know before believing the numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from suite.analysis.comparison import START_LEFT, Comparison
from suite.analysis.seeds import CONFIDENCE
from suite.analysis.table import STATUSES
from suite.analysis.tuning_cost import tuning_cost_sentences
from suite.analysis.words import batch_sizes_text, edge_text, optimizer_title, seeds_text

MOST_NAMED = 6
"""Points that are named in one sentence; the tables mark all of them."""


def caveats(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the numbers, one sentence each; for the terminal and the report."""
    runs, tuned = comparison.runs, comparison.tuned
    notes = []
    unfinished = {status: int(tuned[status].sum()) for status in STATUSES[2:] if tuned[status].sum()}
    if unfinished:
        what = ", ".join(f"{count} {status}" for status, count in unfinished.items())
        notes.append(
            f"{sum(unfinished.values())} of {len(runs)} runs have no result ({what}): "
            f"{batch_sizes_text(tuned.loc[tuned['provisional'], 'batch_size'])} provisional."
        )
    edges = tuned[tuned["edges"].map(len) > 0]
    if len(edges):
        named = [f"{_place(comparison, p, p.optimizer)} ({edge_text(p.edges)})" for p in _rows(edges)]
        more = f"; and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        notes.append(
            f"{len(edges)} of {len(tuned)} tuned points lie on the edge of their grid, so are not tuned: "
            + "; ".join(named[:MOST_NAMED])
            + f"{more}."
        )
    for optimizer, points in tuned.groupby("optimizer", sort=False):
        names = sorted({name for untuned in points["untuned"] for name in untuned})
        if names:
            notes.append(f"{optimizer_title(str(optimizer))} was not tuned over {', '.join(names)}: a single value.")
    notes += _seed_notes(comparison)
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
    for found in comparison.crossovers:
        if found.sign_changes > 1:
            notes.append(f"The gap of {found.task} changes sign {found.sign_changes} times; the crossover assumes one.")
    return notes


def _seed_notes(comparison: Comparison) -> list[str]:
    """What the seeds allow to say, and how many a claim would need."""
    tuned, gaps = comparison.tuned, comparison.gaps
    known = tuned[tuned["seeds"] > 0]
    if known.empty:
        return []
    notes = []
    if known["seeds"].max() == 1:
        notes.append(
            "One seed: the uncertainty covers minibatch noise and the grid, not the spread between seeds; how many "
            "seeds a claim needs cannot be told from one."
        )
    else:
        short = gaps[gaps["seeds_needed"].notna() & (gaps["seeds_needed"] > gaps["seeds"])]
        named = [
            f"{_place(comparison, row, row.challenger)} ({seeds_text(row.seeds_needed)}, has {row.seeds})"
            for row in _rows(short)
        ]
        more = f"; and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        if named:
            notes.append(
                f"To claim the sign of the gap at {CONFIDENCE:.0%} more seeds are needed at {len(named)} of "
                f"{len(gaps)} points: {'; '.join(named[:MOST_NAMED])}{more}."
            )
    if not known["apart"].any():
        notes.append(
            "The seeds that chose the tuned points also give their losses, which are too low on average; report_seeds "
            "in the sweep's YAML trains the chosen settings again with others."
        )
    return notes


def _place(comparison: Comparison, row: Any, label: str) -> str:
    """An optimizer at a batch size, and on which task where there are several."""
    task = f" on {row.task}" if comparison.runs["task"].nunique() > 1 else ""
    return f"{optimizer_title(label)} at {row.batch_size}{task}"


def _rows(table: pd.DataFrame) -> Iterable[Any]:
    return table.itertuples(index=False)
