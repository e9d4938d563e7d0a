"""Which settings of a group are best, by the results that are in the store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from suite.records import SETTLED, Store

if TYPE_CHECKING:
    from suite.sweep.plan import PlannedRun


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
    losses: dict[tuple[Any, ...], list[float]] = {}
    for run in runs:
        if run.reporting or run.diagnoses:
            continue
        record = store.record(run.run_id)
        if record is None or record["status"] not in SETTLED:
            return []
        losses.setdefault(tuple(run.axes.values()), []).append(record["final"].get(final_loss, math.inf))
    most = max(map(len, losses.values()), default=0)
    means = {values: sum(seeds) / most for values, seeds in losses.items() if len(seeds) == most}
    ranked = sorted((values for values in means if math.isfinite(means[values])), key=lambda values: means[values])
    if not ranked and means:
        ranked = [min(means, key=lambda values: tuple(v if isinstance(v, int | float) else 0 for v in values))]
    return [dict(zip(runs[0].axes, values, strict=True)) for values in ranked]
