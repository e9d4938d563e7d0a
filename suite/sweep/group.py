"""The runs of one optimizer at one batch size, which are tuned together."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from suite.records import Store, loss_of
from suite.records.tuning import Side, Trial, ranked, setting_of
from suite.sweep.grid import Axis
from suite.sweep.panel import Panel
from suite.sweep.planned_run import GroupKey, PlannedRun


@dataclasses.dataclass(kw_only=True)
class Group:
    """The runs of one optimizer at one batch size.

    Attributes:
        key: the group's panel, optimizer and batch size.
        panel: the part of the sweep to which the group belongs.
        fixed: settings that do not vary, including ``name``.
        axes: grids with their extensions so far.
        runs: all runs so far.
        extensions: (axis, side) -> number of extensions so far.
    """

    key: GroupKey
    panel: Panel
    fixed: dict[str, Any]
    axes: dict[str, Axis]
    runs: list[PlannedRun] = dataclasses.field(default_factory=list)
    extensions: Counter[tuple[str, Side]] = dataclasses.field(default_factory=Counter)

    def reporting(self, axes: Mapping[str, Any]) -> list[PlannedRun]:
        """The runs that repeat a setting, given by its values on the axes, with the reporting seeds."""
        return [run for run in self.runs if run.reporting and setting_of(run.axes) == setting_of(axes)]


def trials_of(runs: Sequence[PlannedRun], store: Store, final_loss: str) -> list[Trial]:
    """What tuning knows of some runs, in their order.

    Raises:
        ValueError: a record lacks this definition of the final loss.
    """
    return [
        Trial(
            setting=setting_of(run.axes),
            seed=run.seed,
            loss=loss_of(store.record(run.run_id), final_loss),
            reporting=run.reporting,
            diagnosing=bool(run.diagnoses),
        )
        for run in runs
    ]


def ranked_settings(runs: Sequence[PlannedRun], store: Store, final_loss: str) -> list[dict[str, Any]]:
    """The settings of a grid by their values on its axes, the best first; see `suite.records.tuning.ranked`.

    Args:
        runs: the runs of one optimizer at one batch size.
        store: the store with their records.
        final_loss: definition of the final loss.

    Returns:
        The settings; empty while a run that counts in tuning has no result.

    Raises:
        ValueError: a record lacks this definition of the final loss.
    """
    trials = trials_of(runs, store, final_loss)
    if any(math.isnan(trial.loss) for trial in trials if trial.counts_in_tuning):
        return []
    axes = {trial.setting: dict(run.axes) for trial, run in zip(trials, runs, strict=True)}
    return [axes[setting] for setting in ranked(trials)]
