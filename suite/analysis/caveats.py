"""What a reader must know before believing the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from suite.analysis.comparison import START_LEFT, Comparison
from suite.analysis.gap import on_edge
from suite.analysis.slowdown import slowdown_sentences
from suite.analysis.table import STATUSES
from suite.analysis.tuning_cost import tuning_cost_sentences
from suite.analysis.verdict import LEVEL, MOST_SEEDS, POWER
from suite.analysis.words import batch_sizes_text, edge_text, optimizer_title, seeds_text

MOST_NAMED = 6
"""Largest number of points that one sentence names; the tables mark all of them."""

MOST_ASKED = 20
"""Reporting seeds that a sentence proposes at most."""


def caveats(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the numbers, one sentence each; for the terminal and the report."""
    runs, tuned = comparison.runs, comparison.tuned
    notes = [*comparison.notes, *damage_notes(comparison.problems)]
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
    notes += verdict_notes(comparison)
    definitions = {
        task: comparison.panel_losses.get(task, comparison.final_loss) for task in comparison.gaps["task"].unique()
    }
    notes += slowdown_sentences(comparison.gaps, definitions)
    if comparison.tuned_by and comparison.tuned_by != comparison.final_loss:
        notes.append(
            f"The sweep extended its grids by the final loss '{comparison.tuned_by}'; here everything is compared by "
            f"'{comparison.final_loss}'."
        )
    thinned = int(runs["thinned"].notna().sum()) if "thinned" in runs else 0
    if thinned:
        notes.append(
            f"The curves of {thinned} of {len(runs)} runs come from an archive that keeps {int(runs['thinned'].min())} "
            "means of each: slowdowns and curves are read off those. Final losses are exact."
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
    return notes


def damage_notes(problems: Sequence[tuple[str, str]]) -> list[str]:
    """A sentence about files of a store that cannot be used, the first of them named; none without such files."""
    if not problems:
        return []
    named = [f"{'/'.join(Path(path).parts[-2:])} ({reason:.200})" for path, reason in problems[:MOST_NAMED]]
    more = [f"and {len(problems) - MOST_NAMED} more"] if len(problems) > MOST_NAMED else []
    return [
        "Damaged in the store and not believed (a run without a record counts as missing, and the sweep trains it "
        f"again): {'; '.join(named + more)}."
    ]


def verdict_notes(comparison: Comparison) -> list[str]:
    """How many verdicts there are, what their seeds allow to say, and how more are had."""
    gaps, tuned = comparison.gaps, comparison.tuned
    decided = gaps[gaps["verdict"].notna()]
    if decided.empty:
        return []
    notes = []
    single = decided[decided["seeds"] < 2]
    if len(single):
        where = f"At {len(single)} of {len(decided)} points there is one" if len(single) < len(decided) else "One"
        notes.append(f"{where} seed, which decides nothing. {_more_seeds(comparison, 'a second', 3)}")
    several = decided[decided["seeds"] > 1]
    if len(several) > 1:
        falsely = (1 - LEVEL) * len(several)
        notes.append(
            f"{len(several)} verdicts, each at {LEVEL:.0%}: were there no gap at all, {falsely:.2g} of them would "
            "name a winner on average. What is said of several batch sizes together is corrected for their "
            "number (Holm)."
        )
    undecided = several[several["verdict"].isin(["leans", "open"]) & ~on_edge(several)]
    if len(undecided):
        needs = [f"{_needs(row.seeds_needed)}, has {row.seeds}" for row in undecided.itertuples(index=False)]
        wanted = undecided["seeds_needed"].replace(math.inf, math.nan).max()
        command = "" if math.isnan(wanted) else f" {_more_seeds(comparison, 'more', int(min(wanted, MOST_ASKED)))}"
        notes.append(
            f"{len(undecided)} of {len(decided)} gaps are not decided; seeds that would decide one of the measured "
            f"size with a chance of {POWER:.0%}: "
            f"{_named(comparison, undecided, undecided['challenger'], needs)}{command}"
        )
    alone = tuned[(tuned["seeds"] > 0) & ~tuned["apart"]]
    if len(alone):
        luck = 100 * (alone["luck"] / alone["mean_loss"].abs()).replace([math.inf, -math.inf], math.nan)
        estimated = "" if luck.isna().all() else f" (by the smooth surface, {luck.mean():.2g}% of the loss on average)"
        taken = "taken off where there are several seeds" if (alone["seeds"] > 1).any() else "not taken off"
        notes.append(
            f"The seeds that chose {len(alone)} of {len(tuned)} tuned points also give their losses, which are too low "
            f"by what the luckiest setting won{estimated}; that is {taken}. report_seeds in the sweep's YAML trains "
            "the chosen settings again with others, which need no such estimate."
        )
    return notes


def _needs(seeds: float) -> str:
    """A number of seeds; where none is enough, the gap is next to nothing or the choice of settings too uncertain."""
    return f"none up to {MOST_SEEDS}: a finer grid or finalists" if math.isinf(seeds) else seeds_text(seeds)


def _more_seeds(comparison: Comparison, what: str, count: int) -> str:
    """The command that trains the tuned settings with so many reporting seeds."""
    if not comparison.command:
        return f"To get {what}, add rows of the tuned settings with other values in the column seed."
    used = comparison.runs["seed"]
    reporting = sorted(int(seed) for seed in used[comparison.runs["reporting"]].unique())
    first = int(used.max()) + 1
    listed = [*reporting, *range(first, first + count - len(reporting))]
    return (
        f"To get {what}: `report_seeds: {listed}` in {comparison.file}, and `{comparison.command}` trains the tuned "
        "settings with them."
    )


def _named(comparison: Comparison, rows: pd.DataFrame, labels: Iterable[str], remarks: Iterable[str]) -> str:
    """The first points of a table, each with a remark (``SGD at 4 (lr largest)``), and how many follow."""
    several = comparison.runs["task"].nunique() > 1
    points = [
        f"{optimizer_title(label)} at {size}{f' on {task}' if several else ''} ({remark})"
        for label, size, task, remark in zip(labels, rows["batch_size"], rows["task"], remarks, strict=True)
    ]
    more = [f"and {len(points) - MOST_NAMED} more"] if len(points) > MOST_NAMED else []
    return "; ".join(points[:MOST_NAMED] + more) + "."
