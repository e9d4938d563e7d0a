"""Which settings of a group are best, by the results that are in the store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from suite.records import Store, loss_of
from suite.records.tuning import Trial, ranked, setting_of
from suite.sweep.planned_run import PlannedRun


def ranked_settings(runs: Sequence[PlannedRun], store: Store, final_loss: str) -> list[dict[str, Any]]:
    """Axis values of the settings, the best first; see `suite.records.tuning.ranked`.

    Args:
        runs: of one optimizer at one batch size.
        store: where their records are.
        final_loss: definition of the final loss.

    Returns:
        Empty while a run that has a say has no result.

    Raises:
        ValueError: a record lacks the definition.
    """
    trials = [
        Trial(setting_of(run.axes), loss_of(store.record(run.run_id), final_loss), run.reporting, bool(run.diagnoses))
        for run in runs
    ]
    if any(math.isnan(trial.loss) for trial in trials if trial.has_a_say):
        return []
    axes = {trial.setting: dict(run.axes) for trial, run in zip(trials, runs, strict=True)}
    return [axes[setting] for setting in ranked(trials)]
