"""From a sweep to its runs: grids crossed, runs identified, edges extended as results come in."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from suite.fields import nested, plain
from suite.records import Store
from suite.sweep.branching import kept_steps
from suite.sweep.grid import Axis, Side, fixed_value, read_axis
from suite.sweep.panel import Branch, Panel
from suite.sweep.planned_run import PlannedRun
from suite.sweep.ranking import ranked_settings
from suite.sweep.spec import SweepSpec

Identify = Callable[..., tuple[str, int]]
"""Optimizer spec, batch size, seed, and by name the panel's label where the sweep has panels, what a branch starts
from, and whether the run has the sweep's diagnostics -> run id, optimizer steps."""


@dataclasses.dataclass
class Group:
    """The runs of one optimizer at one batch size: what is tuned together.

    Attributes:
        optimizer: label in the sweep.
        batch_size: samples per optimizer step.
        fixed: settings that do not vary, ``name`` among them.
        axes: grids, as extended so far.
        final_loss: definition of the final loss that it is tuned by.
        runs: every run so far.
        extensions: times that each side of each axis has grown.
        panel: label of the sweep's panel; empty in a sweep without.
        checkpoints: shares of its runs' steps after which they keep their weights: they are trunks.
        branch: where its runs start; None: from the seed.
    """

    optimizer: str
    batch_size: int
    fixed: dict[str, Any]
    axes: dict[str, Axis]
    final_loss: str
    runs: list[PlannedRun] = dataclasses.field(default_factory=list)
    extensions: dict[tuple[str, Side], int] = dataclasses.field(default_factory=dict)
    panel: str = ""
    checkpoints: tuple[float, ...] = ()
    branch: Branch | None = None

    @property
    def label(self) -> str:
        """Optimizer label, after the panel's where there are several."""
        return f"{self.panel}: {self.optimizer}" if self.panel else self.optimizer


class Plan:
    """The runs of a sweep.

    Args:
        spec: the sweep.
        identify: tells a run's id and number of steps; raises ValueError for a run that cannot be.
    """

    def __init__(self, spec: SweepSpec, identify: Identify) -> None:
        self.spec = spec
        self._identify = identify
        self._trunks: dict[tuple[str, int, int], PlannedRun] = {}
        self.groups = [
            self._group(panel, label, settings, size)
            for panel in spec.parts
            for label, settings in panel.optimizers.items()
            for size in panel.batch_size
        ]

    @property
    def runs(self) -> list[PlannedRun]:
        """Every run, extensions included."""
        return [run for group in self.groups for run in group.runs]

    def missing(self, store: Store) -> list[PlannedRun]:
        """Runs without a result in ``store``; a trunk whose weights are gone, while a branch is to start from them."""
        runs = self.runs
        left = {run.run_id for run in runs if not store.settled(run.run_id)}
        needed: dict[str, set[int]] = {}
        for run in runs:
            if run.initial is not None and run.run_id in left:
                needed.setdefault(run.initial[0], set()).add(run.initial[1])
        left |= {run_id for run_id, steps in needed.items() if not store.settled(run_id, sorted(steps))}
        return [run for run in runs if run.run_id in left]

    def extend(self, store: Store) -> list[PlannedRun]:
        """Grow the grids of all groups that are complete and whose best value lies on an edge; returns the new runs."""
        return [run for group in self.groups for run in self.extend_group(group, store)]

    def extend_group(self, group: Group, store: Store) -> list[PlannedRun]:
        """Grow one group's grids, if it is complete and its best value lies on an edge; returns the new runs.

        When nothing is left to grow, the new runs are those of the finalists with the seeds that choose among them.
        Where the winner lies on an edge that may still grow, they are those of its neighbour beyond, with all seeds
        that choose. Then those of the best setting with the reporting seeds, and one with the sweep's diagnostics.
        """
        ranked = [] if group.checkpoints else ranked_settings(group.runs, store, group.final_loss)
        if not ranked:
            return []
        best = ranked[0]
        seeds = self.spec.finalist_seeds
        chosen_among = any(run.seed in seeds and not run.reporting for run in group.runs)
        new = self._grow(group, best, alone=chosen_among)
        if self.spec.finalists and len(ranked) > 1 and not new and not chosen_among:
            for finalist in ranked[: self.spec.finalists.settings]:
                new += self._cross(group, _alone(finalist), 0, seeds)
        if not new and not any(run.reporting for run in group.runs):
            reporting = self._cross(group, _alone(best), 0, self.spec.report_seeds)
            new += [dataclasses.replace(run, reporting=True) for run in reporting]
        if self.spec.diagnose and not new and not any(run.diagnoses for run in group.runs):
            seed = (self.spec.report_seeds or self.spec.seeds)[0]
            run = self._run(group, nested({**group.fixed, **best}), seed, diagnosed=True)
            new.append(dataclasses.replace(run, axes=best))
        group.runs += new
        return new

    def _grow(self, group: Group, best: Mapping[str, Any], *, alone: bool) -> list[PlannedRun]:
        """The runs beyond the edges that the best setting lies on; none past the last value that an optimizer takes.

        They are a row of the grid with the sweep's seeds, or the best setting's neighbour `alone` with the finalists'
        seeds too.
        """
        seeds = [*self.spec.seeds, *(self.spec.finalist_seeds if alone else [])]
        new: list[PlannedRun] = []
        for name in self.spec.extend_axes:
            axis = group.axes.get(name)
            side = axis.edge(best[name]) if axis is not None else None
            if axis is None or side is None or group.extensions.get((name, side), 0) >= self.spec.extend_edges:
                continue
            wider = axis.extended(side)
            if wider is None:
                continue
            added = wider.values[0] if side == "low" else wider.values[-1]
            grown = {**(_alone(best) if alone else group.axes), name: Axis(name, (added,))}
            try:
                beyond = list(self._cross(group, grown, sum(group.extensions.values()) + 1, seeds))
            except ValueError:
                continue
            group.extensions[name, side] = group.extensions.get((name, side), 0) + 1
            group.axes[name] = wider
            new += beyond
        return new

    def as_record(self, *, command: str, title: str) -> dict[str, Any]:
        """The plan as the store keeps it."""
        spec = self.spec
        places = {panel.label: place for place, panel in enumerate(spec.parts)}
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
            "panels": {panel.label: _said_of(panel, spec) for panel in spec.parts if panel.label},
            "published": plain(spec.published),
            "final_loss": spec.final_loss,
            "seeds": spec.seeds,
            "finalists": plain(spec.finalists) or {},
            "report_seeds": spec.report_seeds,
            "batch_sizes": sorted({size for panel in spec.parts for size in panel.batch_size}),
            "extend_edges": spec.extend_edges,
            "extend_axes": spec.extend_axes,
            "diagnose": spec.diagnose,
            "runs": [
                {k: v for k, v in dataclasses.asdict(run).items() if k != "spec"}
                for run in sorted(self.runs, key=lambda run: (places[run.panel], run.optimizer, run.batch_size))
            ],
        }

    def _group(self, panel: Panel, label: str, settings: Mapping[str, Any], batch_size: int) -> Group:
        axes, fixed = {}, {"name": label}
        for name, given in settings.items():
            axis = read_axis(name, given, batch_size)
            if axis is None:
                fixed[name] = fixed_value(given)
            else:
                axes[name] = axis
        group = Group(
            label,
            batch_size,
            fixed,
            axes,
            panel.final_loss,
            panel=panel.label,
            checkpoints=panel.checkpoints,
            branch=panel.branch,
        )
        # Branches of later seeds go on from trunks of theirs.
        later = [*self.spec.finalist_seeds, *self.spec.report_seeds] if panel.checkpoints else []
        group.runs += self._cross(group, axes, 0, [*self.spec.seeds, *later])
        return group

    def _cross(
        self, group: Group, axes: Mapping[str, Axis], round_number: int, seeds: Sequence[int]
    ) -> Iterator[PlannedRun]:
        """The runs of a grid."""
        for values in itertools.product(*(axis.values for axis in axes.values())):
            chosen = dict(zip(axes, values, strict=True))
            spec = nested({**group.fixed, **chosen})
            for seed in seeds:
                run = self._run(group, spec, seed)
                yield dataclasses.replace(run, axes=chosen, round=round_number)

    def _run(self, group: Group, spec: dict[str, Any], seed: int, *, diagnosed: bool = False) -> PlannedRun:
        """One run of a group, identified; a trunk is remembered for its branches."""
        size = group.batch_size
        initial: tuple[str, int] | None = None
        told: dict[str, Any] = {"panel": group.panel} if group.panel else {}
        if group.branch is not None:
            trunk = self._trunks[group.branch.trunk, size, seed]
            initial = trunk.run_id, kept_steps((group.branch.share,), trunk.steps)[0]
            told["initial"] = initial
        run_id, steps = self._identify(spec, size, seed, **told)
        run = PlannedRun(run_id, group.optimizer, spec, {}, size, seed, steps, panel=group.panel, initial=initial)
        if diagnosed:
            measured, _ = self._identify(spec, size, seed, **told, diagnosed=True)
            return dataclasses.replace(run, run_id=measured, diagnoses=run_id)
        if group.checkpoints:
            run = dataclasses.replace(run, keeps=kept_steps(group.checkpoints, steps))
            self._trunks[group.panel, size, seed] = run
        return run


def _said_of(panel: Panel, spec: SweepSpec) -> dict[str, Any]:
    """A panel as the store keeps it."""
    said: dict[str, Any] = {"task": panel.task, "overrides": panel.overrides}
    if panel.final_loss != spec.final_loss:
        said["final_loss"] = panel.final_loss
    if panel.checkpoints:
        said["checkpoints"] = panel.checkpoints
    if panel.branch is not None:
        said["branch"] = dataclasses.asdict(panel.branch)
    return said


def _alone(values: Mapping[str, Any]) -> dict[str, Axis]:
    """A grid of one setting."""
    return {name: Axis(name, (value,)) for name, value in values.items()}
