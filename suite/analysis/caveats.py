"""What a reader must know before believing the numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from suite.analysis.comparison import START_LEFT, Comparison
from suite.analysis.gap import on_edge
from suite.analysis.slowdown import slowdown_sentences
from suite.analysis.table import STATUSES
from suite.analysis.tuning_cost import tuning_cost_sentences
from suite.analysis.verdict import LEVEL, MOST_SEEDS, POWER
from suite.analysis.words import (
    batch_sizes_text,
    counted,
    edge_text,
    first_of,
    optimizer_title,
    seeds_text,
    setting_title,
)
from suite.records.tuning import LARGEST_SEED

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
    finite = np.isfinite(tuned["loss"].to_numpy(dtype=float))
    wild = tuned[np.isinf(tuned["loss"].to_numpy(dtype=float))]
    if len(wild):
        where = _named(comparison, wild, wild["optimizer"], [counted(n, "run") for n in wild["diverged"]])
        notes.append(f"Every setting diverged, so that lower learning rates have to be tried: {where}")
    edges = tuned[(tuned["edges"].map(len) > 0) & finite]
    if len(edges):
        points = _named(comparison, edges, edges["optimizer"], edges["edges"].map(edge_text))
        lie = "lies on the edge of its grid, so is" if len(edges) == 1 else "lie on the edge of their grid, so are"
        notes.append(f"{len(edges)} of {counted(len(tuned), 'tuned point')} {lie} not tuned: {points}")
    notes += _untuned(tuned)
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
    percents = comparison.gaps[["gap", "relative_gap"]].to_numpy(dtype=float)
    without = comparison.gaps[np.isfinite(percents[:, 0]) & np.isnan(percents[:, 1])]
    if len(without):
        notes.append(
            f"No relative gap at {batch_sizes_text(without['batch_size'])}: it takes two losses of one sign, none of "
            "them zero."
        )
    short = comparison.short_runs
    if len(short):
        worst = short.loc[short["start_share"].idxmax()]
        notes.append(
            f"Short runs: at {batch_sizes_text(short['batch_size'])} the moving average still holds more than "
            f"{START_LEFT:.0%} of the first loss (at {int(worst['batch_size'])}: {worst['start_share']:.0%} "
            f"after {int(worst['steps'])} steps)."
        )
    return [*notes, *first_of([x for x in tuning_cost_sentences(comparison.tuning_cost) if "does not depend" not in x])]


def _untuned(tuned: pd.DataFrame) -> list[str]:
    """Which optimizers were not tuned over which settings, a sentence for those that share them."""
    optimizers: dict[tuple[str, ...], list[str]] = {}
    for optimizer, points in tuned.groupby("optimizer", sort=False):
        whole = points[points["missing"] == 0]
        names = tuple(sorted({name for untuned in whole["untuned"] for name in untuned}))
        if names:
            optimizers.setdefault(names, []).append(optimizer_title(str(optimizer)))
    sentences = []
    for names, titles in optimizers.items():
        more = f" and {len(titles) - MOST_NAMED} more" if len(titles) > MOST_NAMED else ""
        were = "was" if len(titles) == 1 else "were"
        settings = ", ".join(map(setting_title, names))
        sentences.append(f"{', '.join(titles[:MOST_NAMED])}{more} {were} not tuned over {settings}: a single value.")
    return sentences


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
    undecided = several[several["verdict"].isin(["leans", "open"]) & np.isfinite(several["gap"].to_numpy(dtype=float))]
    at_edge = undecided[on_edge(undecided)]
    if len(at_edge):
        wider = "extend_edges in the sweep's YAML lets it grow" if comparison.file else "add runs past it"
        notes.append(
            f"{_undecided(len(at_edge), len(decided))} where a tuned point lies on the edge of its grid; a wider grid "
            f"there says more than further seeds: {wider}."
        )
    undecided = undecided[~on_edge(undecided)]
    if len(undecided):
        notes.append(f"{_undecided(len(undecided), len(decided))}{_seeds_to_decide(comparison, undecided)}")
    alone = tuned[(tuned["seeds"] > 0) & ~tuned["apart"]]
    if len(alone):
        notes.append(_luck(comparison, alone))
    return notes


def _undecided(count: int, gaps: int) -> str:
    return f"{count} of {counted(gaps, 'gap')} {'is' if count == 1 else 'are'} not decided"


def _luck(comparison: Comparison, alone: pd.DataFrame) -> str:
    """That the seeds that chose also give the losses of some tuned points."""
    luck = 100 * (alone["luck"] / alone["mean_loss"].abs()).replace([math.inf, -math.inf], math.nan)
    share = f"{luck.mean():.2g}% of the loss" if luck.mean() > 0 else "next to nothing"
    estimated = "" if luck.isna().all() else f" (by the smooth surface, {share} on average)"
    taken = "taken off where there are several seeds" if (alone["seeds"] > 1).any() else "not taken off"
    again = (
        " report_seeds in the sweep's YAML trains the chosen settings again with others, which need no such estimate."
        if comparison.file
        else ""
    )
    return (
        f"The seeds that chose {len(alone)} of {counted(len(comparison.tuned), 'tuned point')} also give their losses, "
        f"which are too low by what the luckiest setting won{estimated}; that is {taken}.{again}"
    )


def _seeds_to_decide(comparison: Comparison, undecided: pd.DataFrame) -> str:
    """The seeds that would decide some gaps, with their command; then the gaps that no number of seeds would."""
    never = np.isinf(undecided["seeds_needed"].to_numpy(dtype=float))
    by_seeds, others = undecided[~never], undecided[never]
    said = "."
    if len(by_seeds):
        needs = [f"{seeds_text(row.seeds_needed)}, has {row.seeds}" for row in by_seeds.itertuples(index=False)]
        wanted = by_seeds["seeds_needed"].max()
        command = "" if math.isnan(wanted) else f" {_more_seeds(comparison, 'more', int(min(wanted, MOST_ASKED)))}"
        said = (
            f"; seeds that would decide one of the measured size with a chance of {POWER:.0%}: "
            f"{_named(comparison, by_seeds, by_seeds['challenger'], needs)}{command}"
        )
    if len(others):
        which = f"{len(others)} of them" if len(by_seeds) else "it" if len(others) == 1 else "them"
        small = "it is small" if len(others) == 1 else "they are small"
        said += (
            f" No number of seeds up to {MOST_SEEDS} would decide {which}, since {small} beside what is not known of "
            "the best settings (a finer grid or finalists would tell more): "
            f"{_named(comparison, others, others['challenger'])}"
        )
    return said


def _more_seeds(comparison: Comparison, what: str, count: int) -> str:
    """The command that trains the tuned settings with so many reporting seeds."""
    if not comparison.file:
        column = "the column seed" if comparison.seeded else "a column seed, which the file lacks"
        return f"To get {what}, add rows of the tuned settings with other values in {column}."
    used = {int(seed) for seed in comparison.runs["seed"].unique()}
    reporting = sorted({int(seed) for seed in comparison.runs.loc[comparison.runs["reporting"], "seed"]})
    first = max(used) + 1
    free = (seed for seed in itertools.chain(range(first, LARGEST_SEED + 1), range(first)) if seed not in used)
    listed = [*reporting, *itertools.islice(free, max(0, count - len(reporting)))]
    command = f"`{comparison.command}`" if comparison.command else f"`python -m suite sweep {comparison.file}`"
    return (
        f"To get {what}: `report_seeds: {listed}` in {comparison.file}, and {command} trains the tuned settings with "
        "them."
    )


def _named(
    comparison: Comparison, rows: pd.DataFrame, labels: Iterable[str], remarks: Iterable[str] | None = None
) -> str:
    """The first points of a table, each with its remark if any (``SGD at 4 (lr largest)``), and how many follow."""
    several = comparison.runs["task"].nunique() > 1
    ends = [""] * len(rows) if remarks is None else [f" ({remark})" for remark in remarks]
    points = [
        f"{optimizer_title(label)} at {size}{f' on {comparison.task_title(task)}' if several else ''}{end}"
        for label, size, task, end in zip(labels, rows["batch_size"], rows["task"], ends, strict=True)
    ]
    more = [f"and {len(points) - MOST_NAMED} more"] if len(points) > MOST_NAMED else []
    return "; ".join(points[:MOST_NAMED] + more) + "."
