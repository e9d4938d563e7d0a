"""Everything that the runs of one plan or one CSV export say: what the terminal and the report show."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.branches import BranchPoint, branch_gaps, branch_points
from suite.analysis.budget_law import BudgetLaw, budget_laws
from suite.analysis.collapse import Collapse, collapses
from suite.analysis.crossover import Crossover, crossover
from suite.analysis.csv_import import csv_histories, load_csv
from suite.analysis.curves import LossReader, store_losses
from suite.analysis.families import Settings, panel_settings
from suite.analysis.gap import SERIES, gap_table
from suite.analysis.laws import Laws
from suite.analysis.lr_width import lr_width_table
from suite.analysis.published import published_gaps, published_losses
from suite.analysis.searched import level_of, search_sentence, skip_sentence, until_sentence
from suite.analysis.selection import ALL, Selection
from suite.analysis.slowdown import Curve, curve_of, slowdowns, store_curves
from suite.analysis.table import load_runs, panel_losses
from suite.analysis.target import COLUMNS as TARGET_COLUMNS
from suite.analysis.target import target_table, targets_of
from suite.analysis.tuned import tuned_points
from suite.analysis.tuning_cost import tuning_cost_table
from suite.analysis.words import named
from suite.records import EMA_ALPHA, Store
from suite.records.tuning import MARGIN

START_LEFT = 0.05
"""Weight of the first loss in the final loss above which a reader is warned."""


MOST_NAMED_SEEDS = 12
"""Largest number of seeds that are listed."""


_FRAMES = ("runs", "tuned", "gaps")


@dataclass(frozen=True, kw_only=True)
class Comparison(Laws):
    """What was compared, and the answer.

    Attributes:
        title: what was asked: a sweep's question, or a file's name.
        subtitle: task and source of the setting; may be empty.
        final_loss: definition of the final loss.
        panel_losses: definition of the final loss by task, of the panels that have one of their own.
        runs: one row per run; see `suite.analysis.table`.
        tuned: see `suite.analysis.tuned.tuned_points`.
        gaps: see `suite.analysis.gap.gap_table`.
        start_losses: loss of the untrained network by task and batch size, where a curve is known.
        tuned_by: definition of the final loss by which grids were extended and reporting runs chosen.
        published: values that a paper prints for the same question; see `suite.analysis.published`.
        points: branch point of each task, in a sweep with a trunk; see `suite.analysis.branches`.
        trunks: one row per trunk, as ``runs``.
        notes: how a sweep searched; what became of rows of a file that do not count, a sentence each.
        margin: percent of the reference's loss within which two optimizers are level.
        file: the sweep's YAML; empty for a CSV export.
        command: the command that trained the sweep, likewise.
        problems: files of the store that could not be used, each with a reason.
        titles: what optimizers are called, by label; those that the sweep's YAML names.
        to_target: steps to the target loss; see `suite.analysis.target.target_table`.
        targets: the target losses that were given, by task.
        panels: the settings of the task that each panel changes; see `suite.analysis.families.panel_settings`.
        seeded: whether the runs' seeds are known; a CSV export may not have them.
    """

    title: str
    subtitle: str
    final_loss: str
    panel_losses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    runs: pd.DataFrame
    tuned: pd.DataFrame
    gaps: pd.DataFrame
    start_losses: Mapping[tuple[str, int], float] = dataclasses.field(default_factory=dict)
    tuned_by: str = ""
    published: tuple[Mapping[str, Any], ...] = ()
    points: Mapping[str, BranchPoint] = dataclasses.field(default_factory=dict)
    trunks: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()
    margin: float = MARGIN
    file: str = ""
    command: str = ""
    problems: tuple[tuple[str, str], ...] = ()
    titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    to_target: pd.DataFrame = dataclasses.field(default_factory=lambda: pd.DataFrame(columns=TARGET_COLUMNS))
    targets: Mapping[str, float] = dataclasses.field(default_factory=dict)
    panels: Mapping[str, Settings] = dataclasses.field(default_factory=dict)
    seeded: bool = True

    def named(self) -> AbstractContextManager[None]:
        """While this lasts, its optimizers are called as its sweep says, see `suite.analysis.words.named`."""
        return named([*self.runs["optimizer"].unique(), *self.trunks.get("optimizer", [])], self.titles)

    @functools.cached_property
    def crossovers(self) -> tuple[Crossover, ...]:
        """The crossover of every task and pair of optimizers, in the order of the gaps."""
        return tuple(crossover(rows) for _, rows in self.gaps.groupby(SERIES, sort=False))

    @property
    def crossovers_apart(self) -> tuple[Crossover, ...]:
        """Those of the tasks that are no branch points."""
        return tuple(crossover for crossover in self.crossovers if crossover.task not in self.points)

    @functools.cached_property
    def branch_gaps(self) -> pd.DataFrame:
        """See `suite.analysis.branches.branch_gaps`."""
        return branch_gaps(self.gaps, self.points)

    @functools.cached_property
    def published_gaps(self) -> pd.DataFrame:
        """See `suite.analysis.published.published_gaps`."""
        return published_gaps(self.published, self.gaps)

    @functools.cached_property
    def published_losses(self) -> pd.DataFrame:
        """See `suite.analysis.published.published_losses`."""
        return published_losses(self.published, self.tuned)

    @functools.cached_property
    def tuning_cost(self) -> pd.DataFrame:
        """See `suite.analysis.tuning_cost.tuning_cost_table`."""
        return tuning_cost_table(self.runs, self.gaps, self.start_losses)

    @functools.cached_property
    def lr_widths(self) -> pd.DataFrame:
        """See `suite.analysis.lr_width.lr_width_table`."""
        return lr_width_table(self.runs)

    @functools.cached_property
    def budget_laws(self) -> list[BudgetLaw]:
        """See `suite.analysis.budget_law.budget_laws`."""
        return budget_laws(self.gaps, self.crossovers, self.families)

    @functools.cached_property
    def collapses(self) -> list[Collapse]:
        """See `suite.analysis.collapse.collapses`."""
        return collapses(self.gaps, self.tuned, self.families)

    @property
    def budget_sentences(self) -> list[str]:
        """What a sweep of several budgets says of them: the crossover's laws, and what the gap follows."""
        is_named = len(self.families) > 1
        laws: list[BudgetLaw | Collapse] = [*self.budget_laws, *self.collapses]
        return [law.sentence(named=is_named) for law in laws]

    def showing(self, selection: Selection) -> Comparison:
        """The comparison at the chosen batch sizes, its verdicts as they are."""
        frames = {name: selection.of_sizes(getattr(self, name)) for name in (*_FRAMES, "to_target")}
        return dataclasses.replace(self, notes=(*self.notes, *selection.note(self.runs)), **frames)

    def of_task(self, task: str) -> Comparison:
        """The comparison of one task alone."""
        frames = {name: getattr(self, name) for name in (*_FRAMES, "to_target")}
        definition = self.panel_losses.get(task)
        losses: dict[str, Any] = {"final_loss": definition, "tuned_by": definition} if definition else {}
        return dataclasses.replace(
            self,
            panel_losses={},
            **losses,
            **{name: frame[frame["task"] == task].reset_index(drop=True) for name, frame in frames.items()},
            published=tuple(entry for entry in self.published if entry.get("panel") == task),
        )

    def task_title(self, task: str) -> str:
        """How a task is called in a sentence or a heading: of a branch point, its panel, trunk and share."""
        return self.points[task].title if task in self.points else task

    @property
    def seeds_text(self) -> str:
        """The seeds of the runs: ``seeds 1, 2``; of many their number; empty where they are not known."""
        seeds = sorted(self.runs["seed"].unique())
        if not self.seeded:
            return ""
        if len(seeds) > MOST_NAMED_SEEDS:
            return f"{len(seeds)} seeds from {seeds[0]} to {seeds[-1]}"
        return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"

    @property
    def final_losses(self) -> str:
        """The definitions of the final loss in words, such as ``val (ViT: mean_last_1pct)``."""
        panels = ", ".join(f"{task}: {definition}" for task, definition in self.panel_losses.items())
        return self.final_loss + (f" ({panels})" if panels else "")

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Pairs of optimizers that are compared, as ``(reference, challenger)``."""
        return list(dict.fromkeys(zip(self.gaps["reference"], self.gaps["challenger"], strict=True)))

    @property
    def short_runs(self) -> pd.DataFrame:
        """Batch sizes whose runs are so short that the moving average still holds much of the first loss.

        Returns:
            Columns ``batch_size``, ``steps`` and ``start_share``: the first loss's weight in the final loss.
        """
        averaged = self.runs["task"].map(lambda task: self.panel_losses.get(task, self.final_loss) == "ema")
        if not averaged.any():
            return pd.DataFrame(columns=["batch_size", "steps", "start_share"])
        steps = self.runs[averaged].groupby("batch_size")["steps"].max().reset_index()
        steps["start_share"] = (1 - EMA_ALPHA) ** (steps["steps"] - 1).clip(lower=0)
        return steps[steps["start_share"] > START_LEFT].reset_index(drop=True)


def compare_plan(
    store: Store,
    plan: Mapping[str, Any],
    *,
    losses: LossReader | None = None,
    final_loss: str | None = None,
    reference: str | None = None,
    challenger: str | None = None,
    selection: Selection = ALL,
) -> Comparison:
    """Compare the runs of one plan.

    Args:
        store: where the records are.
        plan: see `suite.records.Store.plan`.
        losses: reads the curves of the tuned points; by default from ``store``.
        final_loss: definition of the final loss; by default the plan's, panel by panel.
        reference: see `suite.analysis.gap.pair_optimizers`.
        challenger: see `suite.analysis.gap.pair_optimizers`.
        selection: optimizers that are compared, and batch sizes that are shown.
    """
    if not plan["runs"]:
        raise ValueError(f"The plan {plan['plan_id']} must have runs, got none; run its sweep again.")
    definition, chosen_by = final_loss or plan["final_loss"], panel_losses(plan)
    by_panel = {} if final_loss else chosen_by
    runs = selection.of_optimizers(load_runs(store, plan, final_loss=final_loss), plan.get("titles") or {})
    read = losses or store_losses(store)
    tuned = tuned_points(runs)
    margin = float(plan.get("margin", MARGIN))
    pair, titles = {"reference": reference, "challenger": challenger}, plan.get("titles") or {}
    gaps = gap_table(runs, tuned=tuned, **pair, margin=margin, level=level_of(plan), titles=titles)
    definitions = {task: by_panel.get(task, definition) for task in runs["task"].unique()}
    curves = functools.cache(store_curves(store, definitions))
    gaps["slowdown"] = slowdowns(gaps, tuned, curves)
    targets = targets_of(plan, list(definitions))
    compared = Comparison(
        title=plan.get("question") or plan["name"],
        subtitle=", ".join(str(plan[key]) for key in ("task_title", "source") if plan.get(key)),
        final_loss=definition,
        panel_losses=by_panel,
        runs=runs,
        tuned=tuned,
        gaps=gaps,
        start_losses=start_losses(tuned, read),
        tuned_by=" and ".join(dict.fromkeys([plan["final_loss"], *(chosen_by.values() if final_loss else ())])),
        published=tuple(plan.get("published") or ()),
        points=branch_points(plan),
        notes=tuple(filter(None, [search_sentence(plan, runs), skip_sentence(plan), until_sentence(plan, runs)])),
        margin=margin,
        file=plan.get("file") or "",
        command=plan.get("command") or "",
        trunks=load_runs(store, plan, final_loss=final_loss, trunks=True),
        problems=tuple(store.problems),
        titles=titles,
        to_target=target_table(runs, tuned, curves, targets),
        targets=targets,
        panels=panel_settings(plan),
    )
    return compared.showing(selection)


def compare_csv(
    path: str | Path,
    *,
    final_loss: str | None = None,
    reference: str | None = None,
    challenger: str | None = None,
    margin: float = MARGIN,
    selection: Selection = ALL,
    target: float | None = None,
) -> Comparison:
    """Compare the runs of a CSV export; see `suite.analysis.csv_import.load_csv`."""
    read = load_csv(path, final_loss)
    runs = selection.of_optimizers(read.runs)
    definition = next(iter(read.final_losses.values()))
    by_panel = {task: other for task, other in read.final_losses.items() if other != definition}
    tuned = tuned_points(runs)
    kept = csv_histories(path, set(itertools.chain(*tuned["run_ids"])))

    def losses(run_id: str) -> np.ndarray:
        return kept[run_id][0][~np.isnan(kept[run_id][0])]

    @functools.cache
    def curve(task: str, run_id: str) -> Curve | None:
        return curve_of(*kept[run_id], validation=read.final_losses[task] == "val")

    gaps = gap_table(runs, tuned=tuned, reference=reference, challenger=challenger, margin=margin)
    gaps["slowdown"] = slowdowns(gaps, tuned, curve)
    targets = {} if target is None else dict.fromkeys(runs["task"].unique(), target)
    compared = Comparison(
        title=Path(path).name,
        subtitle="CSV export",
        final_loss=definition,
        panel_losses=by_panel,
        runs=runs,
        tuned=tuned,
        gaps=gaps,
        start_losses=start_losses(tuned, losses),
        points=read.points,
        trunks=read.trunks,
        notes=read.notes,
        seeded=read.seeded,
        margin=margin,
        to_target=target_table(runs, tuned, curve, targets),
        targets=targets,
    )
    return compared.showing(selection)


def start_losses(tuned: pd.DataFrame, losses: LossReader) -> dict[tuple[str, int], float]:
    """Loss of the untrained network by task and batch size: the highest first loss among the tuned points."""
    starts: dict[tuple[str, int], float] = {}
    for point in tuned.itertuples(index=False):
        for curve in map(losses, point.run_ids):
            if curve is not None and len(curve):
                key = (point.task, point.batch_size)
                starts[key] = max(starts.get(key, -math.inf), float(curve[0]))
    return starts
