"""The definitions of a run's final loss, and the statuses of runs that have a result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SETTLED = frozenset({"finished", "diverged"})
"""Statuses that count as results: a run with one of them is not trained again, and its loss counts in tuning."""

EMA_ALPHA = 0.01
"""Weight of the newest step in the exponential moving average (paper 1's figures; ``adjust=False``)."""

FINAL_LOSSES = {
    "ema": "the last value of the exponential moving average (alpha 0.01) of the per-step train loss",
    "min_last_1pct": "the minimum of the train loss over the last 1% of the steps",
    "mean_last_1pct": "the mean of the train loss over the last 1% of the steps",
    "mean_last_100": "the mean of the train loss over the last 100 steps",
    "val": "the loss on the validation split after the last step",
}
"""Every definition of the final loss by name, in words."""


def final_losses(losses: Sequence[float], val_loss: float | None = None) -> dict[str, float]:
    """Compute the final loss of a run by every definition.

    Args:
        losses: train loss of every optimizer step, in order, all finite.
        val_loss: loss on the validation split after the last step, if it was measured.

    Returns:
        The losses under the names of ``FINAL_LOSSES``. ``ema`` starts at the first loss (paper 1, figures 1-7); the
        last 1% is at least one step (paper 1's plotting code); ``mean_last_100`` is used in paper 1, Table 1; ``val``
        (papers 2-4; paper 1, B.6) is there if it was measured. In one pass over fresh data it estimates the train loss
        without the early steps, which the moving average still contains.

    Raises:
        ValueError: ``losses`` is empty.
    """
    if not losses:
        raise ValueError("A final loss needs at least one step's loss, got none.")
    average = losses[0]
    for loss in losses:
        average += EMA_ALPHA * (loss - average)
    tail = losses[-max(1, len(losses) // 100) :]
    last_100 = losses[-100:]
    final = {
        "ema": average,
        "min_last_1pct": min(tail),
        "mean_last_1pct": sum(tail) / len(tail),
        "mean_last_100": sum(last_100) / len(last_100),
    }
    return final if val_loss is None else {**final, "val": val_loss}


def loss_of(record: Mapping[str, Any] | None, definition: str) -> float:
    """A run's final loss for tuning: infinite if it diverged or the loss is not finite, NaN if there is no result.

    Raises:
        ValueError: the run has finished, but its record does not hold this definition.
    """
    if record is None or record["status"] not in SETTLED:
        return math.nan
    if record["status"] == "diverged":
        return math.inf
    if definition not in record["final"]:
        held = ", ".join(sorted(record["final"])) or "none"
        raise ValueError(
            f"The record of run {record['run_id']} should hold the final loss '{definition}', it holds {held}; "
            "choose one of these as final_loss."
        )
    loss = float(record["final"][definition])
    return loss if math.isfinite(loss) else math.inf
