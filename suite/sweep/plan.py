"""Plans the runs of a sweep: crosses its grids, identifies the runs, and extends grids when results are there."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from suite.fields import nested, plain
from suite.records import Store
from suite.records.tuning import Side, edge, is_ordered, setting_of_axis
from suite.sweep.branching import kept_steps
from suite.sweep.grid import Axis, fixed_value, read_axes
from suite.sweep.group import Group, ranked_settings
from suite.sweep.panel import Panel
from suite.sweep.planned_run import GroupKey, PlannedRun, RunSpec
from suite.sweep.skip import check_skip, settings_of_grid
from suite.sweep.spec import SweepSpec
from suite.sweep.time_scales import settled, with_times

Identify = Callable[[RunSpec], tuple[str, int]]
"""A run -> its id and number of optimizer steps; raises ValueError for impossible settings."""

Tokens = Callable[[str], int | None]
"""A panel's label -> the number of tokens in a sample of its data, None for data without."""

Accept = Callable[[RunSpec], None]
"""Raises ValueError for a run whose settings cannot be, before any data are read."""


class Plan:
    """The runs of a sweep.

    Args:
        spec: the sweep.
        identify: computes a run's id and number of steps.
        accept: called with runs that have every value of every axis between them, before any run is identified.
        tokens: the number of tokens in a sample of a panel, None for data without; times in tokens need it.
    """

    def __init__(
        self,
        spec: SweepSpec,
        identify: Identify,
        accept: Accept = lambda run: None,
        tokens: Tokens = lambda panel: None,
    ) -> None:
        self.spec = spec
        self._identify = identify
        self._tokens = tokens
        self._trunks: dict[tuple[str, int, int], PlannedRun] = {}
        self.groups = [
            self._group(panel, label, settings, size)
            for panel in spec.parts
            for label, settings in panel.optimizers.items()
            for size in panel.batch_size
        ]
        if spec.skip:
            check_skip(spec.skip, {group.key: settings_of_grid(group.axes, (), group.key) for group in self.groups})
        for group in self.groups:
            for run in self._examples(group, spec.seeds[0]):
                accept(run)
        if spec.surface is not None:
            from suite.sweep.searches import Searches

            searched = [group for group in self.groups if not group.panel.checkpoints]
            self._searches = Searches(spec.surface, spec.seeds, searched, self._run, skip=spec.skip)
        for group in self.groups:
            if self.searches_in(group):
                group.runs += [] if self._searches.waits(group) else self._searches.first_runs(group)
                continue
            # Branches with finalist or reporting seeds need trunks with the same seeds.
            later = [*spec.finalist_seeds, *spec.looks[-1]] if group.panel.checkpoints else []
            group.runs += self._cross(group, group.axes, [*spec.seeds, *later])

    def searches_in(self, group: Group) -> bool:
        """Whether a group is searched instead of crossed."""
        return self.spec.surface is not None and not group.panel.checkpoints

    @property
    def in_order(self) -> list[Group]:
        """The groups, those after each other that wait for each other."""
        if self.spec.surface is None:
            return self.groups
        return sorted(self.groups, key=lambda group: self._searches.waits(group) if self.searches_in(group) else 0)

    def foreseen(self) -> Plan:
        """The plan with the first runs of the searches that wait for others, to measure what they cost."""
        whole = copy.copy(self)
        whole.groups = [
            dataclasses.replace(group, runs=group.runs or self._searches.first_runs(group))
            if self.searches_in(group)
            else group
            for group in self.groups
        ]
        return whole

    def most_runs(self, group: Group) -> int:
        """How many runs choose in a group at most; of a grid, without extensions and finalists."""
        if not self.searches_in(group):
            return len(group.runs)
        return self._searches.most_settings(group) * len(self.spec.seeds)

    def grid_runs(self, group: Group) -> int:
        """How many runs choose in a group without a search, before its grid grows."""
        if not self.searches_in(group):
            return len(group.runs)
        return self._searches.grid_size(group) * len(self.spec.seeds)

    def remember(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add the runs that earlier calls of the sweep had added: extensions, finalists, reporting seeds.

        Args:
            records: the runs of the plan in the store, see `PlannedRun.as_record`; a run whose id the present settings
                do not reproduce is left out.
        """
        groups = {group.key: group for group in self.groups}
        planned = {(run.key, run.run_id) for run in self.runs}
        for record in records:
            key = GroupKey(record.get("panel", ""), record["optimizer"], record["batch_size"])
            if key not in groups or (key, record["run_id"]) in planned or not self._may_grow_to(groups[key], record):
                continue
            added = {name: record.get(name, default) for name, default in _ADDED.items()}
            try:
                run = dataclasses.replace(self._run(groups[key], record["axes"], record["seed"]), **added)
                if run.diagnoses:
                    run = self._diagnosed(run)
            except ValueError:
                continue
            if run.run_id == record["run_id"]:
                groups[key].runs.append(run)
                _widen(groups[key], run)

    def _may_grow_to(self, group: Group, record: Mapping[str, Any]) -> bool:
        """Whether extensions could add a run to a group; in a store a plan may hold any values, even class paths."""
        seeds = [*self.spec.seeds, *self.spec.finalist_seeds, *self.spec.looks[-1]]
        axes = record["axes"]
        if record["seed"] not in seeds or axes.keys() != group.axes.keys():
            return False
        return all(self._reaches(group, name, value) for name, value in axes.items())

    def _reaches(self, group: Group, name: str, value: Any) -> bool:
        """Whether an axis has a value, or may get it by the extensions that are left."""
        if value in group.axes[name].values:
            return True
        sides: tuple[Side, ...] = ("low", "high") if name in self._growing(group) else ()
        most = self.spec.extend_edges
        if self.searches_in(group):
            sides, most = ("low", "high"), _MOST_EXTENSIONS
        for side in sides:
            axis: Axis | None = group.axes[name]
            for _ in range(most - group.extensions[name, side]):
                axis = axis and axis.extended(side)
                if axis is None:
                    break
                if value in axis.values:
                    return True
        return False

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs, extensions included."""
        return [run for group in self.groups for run in group.runs]

    def missing(self, store: Store) -> list[PlannedRun]:
        """The runs without a result in ``store``, and the trunks whose weights are gone but needed by such a run."""
        runs = self.runs
        left = {run.run_id for run in runs if not store.settled(run.run_id)}
        needed: dict[str, set[int]] = {}
        for run in runs:
            if run.initial is not None and run.run_id in left:
                needed.setdefault(run.initial[0], set()).add(run.initial[1])
        left |= {run_id for run_id, steps in needed.items() if not store.settled(run_id, sorted(steps))}
        return [run for run in runs if run.run_id in left]

    def extend_group(self, group: Group, store: Store) -> list[PlannedRun]:
        """Add the next runs of a group once all its runs have results; returns the new runs.

        A search trains the settings that its surface proposes until it is over; a grid is extended while the best
        setting lies on an edge. Then the finalists are trained with further seeds; if the best of them lies on an edge,
        its neighbour past the edge is trained with all these seeds. Last, the best setting is trained with the
        reporting seeds, also where another one had been the best before, and once with the sweep's diagnostics.
        """
        panel = group.panel
        if self.searches_in(group):
            if proposed := self._searches.next_runs(group, store):
                group.runs += proposed
                for run in proposed:
                    _widen(group, run)
                return proposed
            if not self._searches.is_over(group, store):
                return []
        best_first = [] if panel.checkpoints else ranked_settings(group.runs, store, panel.final_loss)
        if not best_first:
            return []
        best = best_first[0]
        seeds = self.spec.finalist_seeds
        chosen_among = any(run.seed in seeds and not run.reporting for run in group.runs)
        new = self._grow(group, best, alone=chosen_among) if chosen_among or not self.searches_in(group) else []
        if self.spec.finalists and len(best_first) > 1 and not new and not chosen_among:
            for finalist in best_first[: self.spec.finalists.settings]:
                new += [self._run(group, finalist, seed) for seed in seeds]
        if not new and not group.reporting(best):
            reporting = [self._run(group, best, seed) for seed in self.spec.looks[0]]
            new += [dataclasses.replace(run, reporting=True) for run in reporting]
        if self.spec.diagnose and not new and not any(run.diagnosed for run in group.runs):
            new.append(self._diagnosed(self._run(group, best, (self.spec.looks[0] or self.spec.seeds)[0])))
        group.runs += new
        return new

    def report_more(self, points: Collection[tuple[str, int]], seeds: Sequence[int], store: Store) -> list[PlannedRun]:
        """Add the tuned settings of some panels and batch sizes with further reporting seeds; returns the new runs."""
        new = []
        for group in self.groups:
            if group.key[::2] not in points or not any(run.reporting for run in group.runs):
                continue
            best_first = ranked_settings(group.runs, store, group.panel.final_loss)
            if not best_first:
                continue
            tuned = best_first[0]
            had = {run.seed for run in group.reporting(tuned)}
            runs = [self._run(group, tuned, seed) for seed in seeds if seed not in had]
            added = [dataclasses.replace(run, reporting=True) for run in runs]
            group.runs += added
            new += added
        return new

    def _growing(self, group: Group) -> list[str]:
        """The axes of a group that may be extended; a time's may where its setting's may."""
        return [axis for name in self.spec.extend_axes for axis in group.axes if name in (axis, setting_of_axis(axis))]

    def _grow(self, group: Group, best: Mapping[str, Any], *, alone: bool) -> list[PlannedRun]:
        """The runs past the edges at which the best setting lies, as far as the optimizer allows the new values.

        They are a row of the grid with the sweep's seeds or, with ``alone``, only the best setting's neighbour, with
        the finalists' seeds too.
        """
        seeds = [*self.spec.seeds, *(self.spec.finalist_seeds if alone else [])]
        new: list[PlannedRun] = []
        for name in self._growing(group):
            axis = group.axes[name]
            side = edge(best[name], axis.values)
            if not side or group.extensions[name, side] >= self.spec.extend_edges:
                continue
            wider = axis.extended(side)
            if wider is None:
                continue
            added = wider.values[0] if side == "low" else wider.values[-1]
            grid = {n: Axis(n, (value,)) for n, value in best.items()} if alone else group.axes
            try:
                beyond = self._cross(group, {**grid, name: Axis(name, (added,))}, seeds)
            except ValueError:
                continue
            group.extensions[name, side] += 1
            group.axes[name] = wider
            new += [dataclasses.replace(run, round=sum(group.extensions.values())) for run in beyond]
        return new

    def as_record(self, *, command: str, title: str) -> dict[str, Any]:
        """The plan as plain values, for the store."""
        spec = self.spec
        panels = [panel.label for panel in spec.parts]
        runs = sorted(self.runs, key=lambda run: (panels.index(run.panel), run.optimizer, run.batch_size))
        return {
            "plan_id": spec.plan_id,
            "name": spec.name,
            "file": spec.file,
            "command": command,
            "question": spec.question,
            "source": spec.source,
            "task": ", ".join(dict.fromkeys(panel.task for panel in spec.parts)),
            "task_title": title,
            "overrides": spec.overrides,
            "panels": {panel.label: _panel_record(panel, spec) for panel in spec.parts if panel.label},
            "published": plain(spec.published),
            "final_loss": spec.final_loss,
            "seeds": spec.seeds,
            "finalists": plain(spec.finalists) or {},
            "report_seeds": spec.report_seeds,
            "margin": spec.within,
            "titles": spec.titles,
            **({"targets": spec.targets} if spec.targets else {}),
            **({} if spec.surface is None else {"search": self._searches.as_record()}),
            **({"skip": spec.skip} if spec.skip else {}),
            **({} if spec.until is None else {"until": spec.until.as_record(spec.looks)}),
            "batch_sizes": sorted({size for panel in spec.parts for size in panel.batch_size}),
            "extend_edges": spec.extend_edges,
            "extend_axes": spec.extend_axes,
            "diagnose": spec.diagnose,
            "runs": [run.as_record() for run in runs],
        }

    @staticmethod
    def _group(panel: Panel, label: str, settings: Mapping[str, Any], batch_size: int) -> Group:
        settings = with_times(settings)
        axes = read_axes(settings, batch_size)
        fixed = {"name": label, **{name: fixed_value(value) for name, value in settings.items() if name not in axes}}
        return Group(key=GroupKey(panel.label, label, batch_size), panel=panel, fixed=fixed, axes=axes)

    def _cross(self, group: Group, axes: Mapping[str, Axis], seeds: Sequence[int]) -> list[PlannedRun]:
        """The runs of a grid, without the settings that the sweep skips."""
        settings = settings_of_grid(axes, self.spec.skip, group.key)
        return [self._run(group, dict(setting), seed) for setting in settings for seed in seeds]

    def _run(self, group: Group, axes: dict[str, Any], seed: int) -> PlannedRun:
        """Make and identify one run of a group; a trunk is also registered for its branches."""
        panel, size = group.panel, group.key.batch_size
        initial = None
        if panel.branch is not None:
            trunk = self._trunks[panel.branch.trunk, size, seed]
            initial = trunk.run_id, kept_steps((panel.branch.share,), trunk.steps)[0]
        settings = self._settings(group, axes)
        spec = RunSpec(settings=settings, batch_size=size, seed=seed, panel=panel.label, initial=initial)
        run_id, steps = self._identify(spec)
        run = PlannedRun(**vars(spec), run_id=run_id, optimizer=group.key.optimizer, axes=axes, steps=steps)
        if panel.checkpoints:
            run = dataclasses.replace(run, keeps=kept_steps(panel.checkpoints, steps))
            self._trunks[panel.label, size, seed] = run
        return run

    def _settings(self, group: Group, axes: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer's settings at some values of a group's axes."""
        key = group.key
        return nested(
            settled({**group.fixed, **axes}, batch_size=key.batch_size, tokens_per_sample=self._tokens(key.panel))
        )

    def _examples(self, group: Group, seed: int) -> Iterator[RunSpec]:
        """Runs of a group's grid that have every value of every axis between them, the others at their first."""
        first = {name: axis.values[0] for name, axis in group.axes.items()}
        changes = [{name: value} for name, axis in group.axes.items() for value in axis.values]
        for change in changes or [{}]:
            settings = self._settings(group, {**first, **change})
            yield RunSpec(settings=settings, batch_size=group.key.batch_size, seed=seed, panel=group.panel.label)

    def _diagnosed(self, tuned: PlannedRun) -> PlannedRun:
        """The run that repeats a tuned run with the sweep's diagnostics."""
        run = dataclasses.replace(tuned, diagnosed=True, diagnoses=tuned.run_id)
        return dataclasses.replace(run, run_id=self._identify(run)[0])


_MOST_EXTENSIONS = 32
"""Values past either end of an axis that a search may have tried."""

_ADDED = {"round": 0, "reporting": False, "diagnoses": ""}
"""Fields in the record of a run that an extension has added -> their values for the runs of the first grid."""


def _widen(group: Group, run: PlannedRun) -> None:
    """Extend a group's axes to the values of a run."""
    for name, value in run.axes.items():
        while (axis := group.axes[name]) and is_ordered(axis.values) and value not in axis.values:
            side: Side = "low" if value < axis.values[0] else "high"
            wider = axis.extended(side)
            if wider is None:
                break
            group.axes[name] = wider
            group.extensions[name, side] += 1


def _panel_record(panel: Panel, spec: SweepSpec) -> dict[str, Any]:
    """A panel as plain values, for the store."""
    record: dict[str, Any] = {"task": panel.task, "overrides": panel.overrides}
    if panel.final_loss != spec.final_loss:
        record["final_loss"] = panel.final_loss
    if panel.checkpoints:
        record["checkpoints"] = panel.checkpoints
    if panel.branch is not None:
        record["branch"] = dataclasses.asdict(panel.branch)
    return record
