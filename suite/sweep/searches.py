"""The searches of a sweep: which settings of every group come next.

The batch sizes of an optimizer are searched from the middle one outwards, both sides at once: each begins with what the
sizes between it and the middle have found. So proposals follow from results that are final, whatever was trained first.

The settings of a search are those of the grid, extended on every axis by the values tried beyond its ends and, where
the best setting lies on an end, by one more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from suite.fields import plain
from suite.records import Store
from suite.records.tuning import Setting, edge, ranked, setting_of
from suite.surface.model import Results
from suite.surface.space import Space
from suite.sweep.grid import Axis
from suite.sweep.group import Group, trials_of
from suite.sweep.planned_run import GroupKey, PlannedRun
from suite.sweep.search import START, Lattice, Proposal
from suite.sweep.skip import settings_of_grid
from suite.sweep.surface_search import CHANCE, SurfaceSearch

MakeRun = Callable[[Group, dict[str, Any], int], PlannedRun]
"""(group, values on the axes, seed) -> the run; raises ValueError for impossible settings."""


class Searches:
    """The searches of a plan.

    Args:
        search: their settings.
        seeds: with which every setting is trained.
        groups: all groups of the plan.
        make_run: makes a run.
        skip: settings that are not trained, see `suite.sweep.skip`.
    """

    def __init__(
        self,
        search: SurfaceSearch,
        seeds: Sequence[int],
        groups: Sequence[Group],
        make_run: MakeRun,
        *,
        skip: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._search, self._seeds, self._groups, self._make_run = search, seeds, groups, make_run
        self._skip = skip
        self._proposals: dict[tuple[GroupKey, int], Proposal] = {}
        self._chances: dict[GroupKey, float] = {}
        self._said: dict[GroupKey, dict[str, Any]] = {}
        self._home = {group.key: dict(group.axes) for group in groups}

    def next_runs(self, group: Group, store: Store) -> list[PlannedRun]:
        """The runs that a search trains next, after all its runs so far have results.

        Returns:
            None of them where the search is over, and where it waits for other batch sizes.
        """
        runs = self._next_runs(group, store)
        self._said[group.key] = self._as_record(group, store)
        return runs

    def as_record(self) -> dict[str, Any]:
        """The rule and how far the searches are as plain values, for the plan in the store.

        Of each of the ``groups`` its key, the values of its lattice's ``axes``, the number of settings in its ``grid``,
        the ``chance`` of a better untried setting, None where it is not known, and whether it is ``over``.
        """
        return {**plain(self._search), "chance": CHANCE, "groups": list(self._said.values())}

    def _as_record(self, group: Group, store: Store) -> dict[str, Any]:
        is_known = bool(group.runs) and not self._lacks_results(group, store)
        return {
            **group.key._asdict(),
            "axes": {name: list(axis.values) for name, axis in self.axes(group, store).items()},
            "grid": self.grid_size(group),
            "chance": self._chances.get(group.key),
            "over": is_known and self.is_over(group, store),
        }

    def _next_runs(self, group: Group, store: Store) -> list[PlannedRun]:
        nearer = self._nearer(group)
        if not group.runs and all(self.is_over(other, store) for other in nearer):
            return self._begun(group, self._results_of(nearer, group, store))
        if not group.runs or self._lacks_results(group, store) or self.is_over(group, store):
            return []
        _, settings = self._settings(group, self.axes(group, store))
        chosen = [settings[number] for number in self.proposal(group, store).settings]
        return self._runs(group, chosen, 1 + max(run.round for run in group.runs))

    def first_runs(self, group: Group) -> list[PlannedRun]:
        """The runs with which a search would begin if it knew of no other batch size."""
        return self._begun(group, ())

    def grid_size(self, group: Group) -> int:
        """Number of settings in a group's grid as the sweep gives it."""
        return len(settings_of_grid(self._home[group.key], self._skip, group.key))

    def most_settings(self, group: Group) -> int:
        """Largest number of settings that a group's search trains."""
        return self._search.most_settings(self._home[group.key].values(), self.grid_size(group))

    def waits(self, group: Group) -> int:
        """For how many searches of other batch sizes one waits before it begins."""
        return len(self._nearer(group))

    def is_over(self, group: Group, store: Store) -> bool:
        """Whether a search has ended: by its rule, at its largest number of runs, or because all was tried."""
        if not group.runs or self._lacks_results(group, store):
            return False
        came_after = any(run.reporting or run.diagnoses or run.seed not in self._seeds for run in group.runs)
        if came_after or len(self._losses(group, store)) >= self._search.most:
            return True
        proposal = self.proposal(group, store)
        return proposal.is_over or not proposal.settings

    def proposal(self, group: Group, store: Store) -> Proposal:
        """What the surface after a group's results proposes, and the chance that it is worth it."""
        key = group.key, len(group.runs)
        if key not in self._proposals:
            lattice, settings = self._settings(group, self.axes(group, store))
            others = self._results_of(self._nearer(group), group, store)
            losses = self._losses(group, store)
            numbers = {setting_of(setting): number for number, setting in enumerate(settings)}
            tried = sorted(numbers[setting] for setting in losses)
            of_tried = np.array([losses[setting_of(settings[number])] for number in tried])
            count = min(self._search.batch, self._search.most - len(tried))
            self._proposals[key] = lattice.following(
                tried, of_tried, count, precision=self._search.precision, others=others
            )
            self._chances[group.key] = self._proposals[key].chance
        return self._proposals[key]

    def axes(self, group: Group, store: Store) -> dict[str, Axis]:
        """The axes of a group's lattice: as the sweep gives them, with what was tried beyond and may be next."""
        axes = dict(group.axes)
        best = next(iter(ranked(trials_of(group.runs, store, group.panel.final_loss))), None)
        for name, value in best or ():
            side = edge(value, axes[name].values)
            wider = axes[name].extended(side) if side else None
            if wider is None:
                continue
            beyond = wider.values[0] if side == "low" else wider.values[-1]
            if self._trains(group, {**dict(best or ()), name: beyond}):
                axes[name] = wider
        return axes

    def _nearer(self, group: Group) -> list[Group]:
        """The groups of the same optimizer at the batch sizes between one and the middle one, the nearest first."""
        same = [g for g in self._groups if g.key[:2] == group.key[:2]]
        same.sort(key=lambda g: g.key.batch_size)
        here, middle = same.index(group), len(same) // 2
        return same[here + 1 : middle + 1] if here < middle else same[middle:here][::-1]

    def _begun(self, group: Group, others: Sequence[Results]) -> list[PlannedRun]:
        lattice, settings = self._settings(group, group.axes)
        first = min(START, self._search.most)
        return self._runs(group, [settings[number] for number in lattice.start(first, others).settings], 0)

    def _space(self, group: Group) -> Space:
        home = {name: axis.values for name, axis in self._home[group.key].items()}
        return Space(home, groups=1 + self.waits(group))

    def _settings(self, group: Group, axes: Mapping[str, Axis]) -> tuple[Lattice, list[dict[str, Any]]]:
        """A group's lattice and its settings, in the same order."""
        settings = settings_of_grid(axes, self._skip, group.key)
        space = self._space(group)
        return Lattice(space, space.at(settings), seed=self._seeds[0]), settings

    def _results_of(self, others: Sequence[Group], group: Group, store: Store) -> tuple[Results, ...]:
        """The results of other groups, in the space of one."""
        space, results = self._space(group), []
        for number, other in enumerate(others, start=1):
            losses = self._losses(other, store)
            at = space.at([dict(setting) for setting in losses], group=number)
            results.append(Results(at, np.array(list(losses.values()))))
        return tuple(results)

    def _lacks_results(self, group: Group, store: Store) -> bool:
        return any(math.isnan(loss) for loss in self._losses(group, store).values())

    def _losses(self, group: Group, store: Store) -> dict[Setting, float]:
        """Mean loss over the sweep's seeds of every setting of the search; NaN where one has no result."""
        losses: dict[Setting, list[float]] = {}
        for trial in trials_of(group.runs, store, group.panel.final_loss):
            if trial.counts_in_tuning and trial.seed in self._seeds:
                losses.setdefault(trial.setting, []).append(trial.loss)
        return {setting: float(np.mean(losses[setting])) for setting in sorted(losses, key=repr)}

    def _runs(self, group: Group, settings: Sequence[Mapping[str, Any]], number: int) -> list[PlannedRun]:
        runs = [self._make_run(group, dict(setting), seed) for setting in settings for seed in self._seeds]
        return [dataclasses.replace(run, round=number) for run in runs]

    def _trains(self, group: Group, setting: Mapping[str, Any]) -> bool:
        try:
            self._make_run(group, dict(setting), self._seeds[0])
        except ValueError:
            return False
        return True
