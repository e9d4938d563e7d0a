"""Which settings of a group are best, by the results that are in the store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from suite.records import SETTLED, Store
from suite.sweep.planned_run import PlannedRun


def ranked_settings(runs: Sequence[PlannedRun], store: Store, final_loss: str) -> list[dict[str, Any]]:
    """Axis values of the settings, lowest final loss (mean over seeds) first; empty while a run has no result.

    Where some settings were trained with more seeds than others, they alone compete. Divergence counts as infinite and
    loses its place; when everything diverged, the smallest values alone are returned, so that a grid grows towards
    stability.

    Args:
        runs: of one optimizer at one batch size; those that report or diagnose have no say.
        store: where their records are.
        final_loss: definition of the final loss.
    """
    settings: dict[str, dict[str, Any]] = {}
    losses: dict[str, list[float]] = {}
    for run in runs:
        if run.reporting or run.diagnoses:
            continue
        record = store.record(run.run_id)
        if record is None or record["status"] not in SETTLED:
            return []
        key = repr(run.axes)  # values may be lists: pairs of betas
        settings[key] = dict(run.axes)
        losses.setdefault(key, []).append(record["final"].get(final_loss, math.inf))
    most = max(map(len, losses.values()), default=0)
    means = {key: sum(seeds) / most for key, seeds in losses.items() if len(seeds) == most}
    ranked = sorted((key for key in means if math.isfinite(means[key])), key=lambda key: means[key])
    if not ranked and means:
        ranked = [min(means, key=lambda key: [v if isinstance(v, int | float) else 0 for v in settings[key].values()])]
    return [settings[key] for key in ranked]
