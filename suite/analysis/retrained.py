"""The budget that a target loss takes when the runs are made for it: tuned losses interpolated over budgets.

In a sweep whose panels differ in their budget, every optimizer is tuned and trained anew at every budget and batch
size, its schedule made for that budget. The loss over the logarithm of the budget is the closest falling sequence,
joined by straight pieces; the interval comes from `DRAWS` draws of the tuned losses within their errors (Student's t).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from suite.analysis.families import Family
from suite.analysis.monotone import monotone_fit
from suite.analysis.target import COLUMNS, Outcome, with_ratios
from suite.analysis.verdict import LEVEL

DRAWS = 2000
_SEED = 0


def retrained_table(tuned: pd.DataFrame, family: Family, targets: Mapping[str, float]) -> pd.DataFrame:
    """Steps, samples and tokens to the target over batch sizes, the budget made for it.

    Args:
        tuned: see `suite.analysis.tuned.tuned_points`.
        family: panels that differ in their budget alone.
        targets: given target losses by panel; the first of the family's counts. Without any, the tuned loss that
            most points have between their smallest and their largest budget; of several the lowest.

    Returns:
        The columns of `suite.analysis.target.COLUMNS`; ``task`` is the family's name, ``share`` and ``seconds`` are
        NaN, ``seeds`` the fewest behind a loss, ``edges`` those of any budget. ``at most``: at the smallest budget the
        target was reached already; ``not reached``: nor was it at the largest.
    """
    points = tuned[tuned["task"].isin(family.tasks)]
    aim = next((targets[task] for task in family.tasks if task in targets), None)
    target = _between_most(points) if aim is None else aim
    rows = []
    for (optimizer, size), group in points.groupby(["optimizer", "batch_size"], sort=False):
        at = group.set_index("task").reindex([task for task in family.tasks if task in set(group["task"])])
        budgets = np.array([family.samples[family.tasks.index(task)] for task in at.index])
        outcome, ends = _needed(budgets, at, target)
        each = family.tokens_per_sample
        rows.append(
            {"task": family.name, "optimizer": optimizer, "batch_size": size, "target": target}
            | {"given": aim is not None, "outcome": outcome, "share": math.nan, "seconds": math.nan}
            | dict(zip(("steps", "steps_low", "steps_high"), (end / float(size) for end in ends), strict=True))
            | {"samples": ends[0], "tokens": ends[0] * each, "seeds": int(at["seeds"].min())}
            | {"edges": tuple(dict.fromkeys(edge for edges in at["edges"] for edge in edges))}
        )
    return with_ratios(pd.DataFrame(rows, columns=COLUMNS[: COLUMNS.index("reference")]))


def _between_most(points: pd.DataFrame) -> float:
    """The tuned loss that most points bracket between their budgets, of several the lowest; NaN without any."""
    finite = points[np.isfinite(points["loss"].to_numpy(dtype=float))]
    ends = finite.groupby(["optimizer", "batch_size"])["loss"].agg(["min", "max"]).to_numpy(dtype=float)
    losses = np.sort(finite["loss"].to_numpy(dtype=float))
    if not len(losses):
        return math.nan
    brackets = (ends[:, 0] <= losses[:, None]) & (losses[:, None] < ends[:, 1])
    return float(losses[int(brackets.sum(axis=1).argmax())])


def _needed(budgets: np.ndarray, at: pd.DataFrame, target: float) -> tuple[Outcome, tuple[float, float, float]]:
    """The budget in samples at which the tuned loss is at the target, with the ends of its interval."""
    losses = at["loss"].to_numpy(dtype=float)
    nothing = (math.nan,) * 3
    finite = np.isfinite(losses)
    if not finite.any():
        return ("diverged" if np.isinf(losses).any() else "no result"), nothing
    if finite.sum() < 2:
        return "no result", nothing
    errors, freedoms = (at[name].to_numpy(dtype=float)[finite] for name in ("error", "freedom"))
    logs, losses = np.log(budgets[finite]), losses[finite]
    needed = float(np.exp(budgets_needed(logs, losses[None], target)[0]))
    low = high = math.nan
    if (np.isfinite(errors) & (freedoms > 0)).all():
        drawn = losses + errors * np.random.default_rng(_SEED).standard_t(freedoms, (DRAWS, len(losses)))
        ends = np.quantile(
            budgets_needed(logs, drawn, target), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf"
        )
        low, high = map(float, np.exp(ends))
    if needed == 0:
        return "at most", (float(budgets[finite][0]), 0.0, max(high, float(budgets[finite][0])))
    if math.isinf(needed):
        return "not reached", (math.nan, low, high)
    return "reached", (needed, low, high)


def budgets_needed(logs: np.ndarray, losses: np.ndarray, target: float) -> np.ndarray:
    """Logarithm of the budget at which falling sequences of losses are at a target.

    Args:
        logs: logarithms of the budgets, ascending, shape ``[budgets]``.
        losses: shape ``[sets, budgets]``.
        target: the loss.

    Returns:
        Shape ``[sets]``; -inf where the smallest budget reaches it, inf where the largest does not.
    """
    fitted = monotone_fit(losses, falling=True)
    below = fitted <= target
    first = np.argmax(below, axis=1)
    rows = np.arange(len(fitted))
    above, under = fitted[rows, np.maximum(first - 1, 0)], fitted[rows, first]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = (above - target) / (above - under)
        inside = logs[np.maximum(first - 1, 0)] + part * (logs[first] - logs[np.maximum(first - 1, 0)])
    return np.where(~below.any(axis=1), math.inf, np.where(first == 0, -math.inf, inside))
