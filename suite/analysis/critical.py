"""The critical batch size: where does doubling the batch stop halving the steps to a target loss?

Two answers, from the steps over batch sizes of one optimizer (`suite.analysis.target`, or with the budget made for the
target `suite.analysis.retrained`):

**Without a model.** Between neighbouring batch sizes the steps fall as a power of the batch size; 1 halves them with
every doubling. Halving has *stopped* between the first two batch sizes at which the 95% interval of that power lies
below 1.

**By the form** ``steps = S + E / B`` (McCandlish et al. 2018, An Empirical Model of Large-Batch Training): ``S`` steps
are needed whatever the batch, ``E`` samples whatever the number of steps, and at the critical batch size ``E / S``
twice the least of both. It is fitted by least squares on the relative residuals, weighted by the intervals of the
steps, with neither term below zero, and used with three batch sizes or more where it does not contradict them
(chi-squared test at `FIT`). Its interval comes from `DRAWS` draws of the steps within their intervals (normal on
logarithms).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import chdtrc, ndtri

from suite.analysis.crossover import FIT, LEAST_POINTS
from suite.analysis.target import quotient
from suite.analysis.verdict import LEVEL
from suite.analysis.words import batch_size_text, interval_text, optimizer_title, plain_number

DRAWS = 2000
_SEED = 0

COLUMNS = [
    "task", "optimizer", "target", "retrained", "points", "largest_batch_size", "critical", "critical_low",
    "critical_high", "fits", "least_steps", "least_samples", "stops_from", "stops_at", "power", "power_low",
    "power_high",
]  # fmt: skip


def critical_table(steps: pd.DataFrame, *, retrained: bool) -> pd.DataFrame:
    """The critical batch size of every task and optimizer with steps at two batch sizes or more.

    Args:
        steps: see `suite.analysis.target.target_table`.
        retrained: whether the budgets were made for the target.

    Returns:
        ``points``: batch sizes whose steps are known, up to ``largest_batch_size``. ``critical`` with the ends of its
        95% interval: by the form; NaN with fewer than three points or where it contradicts them (``fits`` is False),
        infinite where the steps still fall like 1 / B. ``least_steps`` and ``least_samples``: S and E. ``stops_from``
        and ``stops_at``: the batch sizes between which halving has stopped, with the ``power`` there and its interval;
        NaN where it has not.
    """
    rows = []
    reached = steps[steps["outcome"] == "reached"]
    for (task, optimizer), of_one in reached.groupby(["task", "optimizer"], sort=False):
        points = of_one.sort_values("batch_size")
        if len(points) < 2:
            continue
        key = {"task": task, "optimizer": optimizer, "target": points["target"].iloc[0], "retrained": retrained}
        key |= {"points": len(points), "largest_batch_size": int(points["batch_size"].iloc[-1])}
        rows.append(key | _by_the_form(points) | _stops(points))
    return pd.DataFrame(rows, columns=COLUMNS)


def powers(points: pd.DataFrame) -> pd.DataFrame:
    """The power of the batch size by which the steps of one optimizer fall between neighbouring batch sizes.

    Args:
        points: rows of a table of steps, ascending in batch size.

    Returns:
        ``stops_from``, ``stops_at``: the batch sizes; ``power`` with its ends.
    """
    ends = points[["steps", "steps_low", "steps_high"]].to_numpy(dtype=float)
    sizes = points["batch_size"].to_numpy(dtype=float)
    rows = []
    for first in range(len(points) - 1):
        ratio = quotient(tuple(ends[first]), tuple(ends[first + 1]))
        with np.errstate(divide="ignore"):
            values = np.log(np.array(ratio)) / math.log(sizes[first + 1] / sizes[first])
        rows.append([sizes[first], sizes[first + 1], *values.tolist()])
    return pd.DataFrame(rows, columns=["stops_from", "stops_at", "power", "power_low", "power_high"])


def form(sizes: np.ndarray, steps: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of ``S + E / B`` with neither term below zero.

    Args:
        sizes: batch sizes, shape ``[points]``.
        steps: shape ``[sets, points]``.
        weights: of the residuals, shape ``[points]``.

    Returns:
        S and E, shape ``[sets]``.
    """
    design = np.stack([np.ones_like(sizes), 1 / sizes], axis=1) * weights[:, None]
    target = steps * weights
    both = np.linalg.lstsq(design, target.T, rcond=None)[0].T
    alone = np.maximum(target @ design, 0) / np.square(design).sum(axis=0)
    left = [np.square(target - alone[:, [k]] * design[:, k]).sum(axis=1) for k in (0, 1)]
    of_steps = np.where(left[0] < left[1], alone[:, 0], 0.0)
    of_samples = np.where(left[0] < left[1], 0.0, alone[:, 1])
    inside = (both >= 0).all(axis=1)
    return np.where(inside, both[:, 0], of_steps), np.where(inside, both[:, 1], of_samples)


def critical_sentences(table: pd.DataFrame, *, several: bool) -> list[str]:
    """What is known of every critical batch size, a sentence each; a critical batch size only with its interval.

    Args:
        table: see `critical_table`.
        several: whether their tasks are named.
    """
    sentences = []
    for row in table.itertuples(index=False):
        where = f"{row.task}, " if several else ""
        of_what = f"{where}{optimizer_title(row.optimizer)}, steps to a loss of {plain_number(row.target)}"
        sentences.append(f"{of_what}: {_stops_words(row)}; {_critical_words(row)}.")
    return sentences


def _stops_words(row: Any) -> str:
    """Where halving has stopped, as a clause; not that it goes on where the form says that it has stopped."""
    if not math.isnan(row.stops_from):
        low = "up to" if math.isinf(row.power_low) else f"{row.power_low:.2f} to"
        return (
            f"doubling the batch has stopped halving them between {row.stops_from:g} and {row.stops_at:g} (they fall "
            f"as its power {row.power:.2f}, {LEVEL:.0%} interval {low} {row.power_high:.2f})"
        )
    if row.critical < row.largest_batch_size:
        return "their intervals do not tell whether doubling the batch stops halving them"
    return f"doubling the batch still halves them up to {row.largest_batch_size}, as far as their intervals tell"


def _critical_words(row: Any) -> str:
    """The critical batch size as a clause."""
    if row.points < LEAST_POINTS:
        return f"no critical batch size from {row.points} batch sizes"
    if not row.fits:
        return "the form S + E / B contradicts the steps, so it gives no critical batch size"
    if math.isnan(row.critical_low):
        return "no critical batch size is given, because its interval is not known"
    size = "beyond all measured ones" if math.isinf(row.critical) else batch_size_text(row.critical)
    return f"critical batch size {size} ({interval_text((row.critical_low, row.critical_high))})"


def _stops(points: pd.DataFrame) -> dict[str, float]:
    neighbours = powers(points)
    stopped = neighbours[neighbours["power_high"] < 1]
    row = stopped.iloc[0] if len(stopped) else pd.Series(math.nan, index=neighbours.columns)
    return {str(name): float(value) for name, value in row.items()}


def _by_the_form(points: pd.DataFrame) -> dict[str, Any]:
    """S, E and the critical batch size; of points some of whose intervals are open, by those whose are not."""
    ends = points[["steps_low", "steps_high"]].to_numpy(dtype=float)
    closed = points[(np.isfinite(ends) & (ends > 0)).all(axis=1)]
    points = closed if len(closed) >= LEAST_POINTS else points
    sizes, steps, lows, highs = (
        points[name].to_numpy(dtype=float) for name in ("batch_size", "steps", "steps_low", "steps_high")
    )
    nothing = dict.fromkeys(("critical", "critical_low", "critical_high", "least_steps", "least_samples"), math.nan)
    if len(points) < LEAST_POINTS:
        return nothing | {"fits": True}
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = (np.log(highs) - np.log(lows)) / (2 * float(ndtri((1 + LEVEL) / 2)))
    are_known = bool((np.isfinite(errors) & (errors > 0)).all())
    weights = 1 / (steps * (errors if are_known else 1.0))
    least_steps, least_samples = (float(term[0]) for term in form(sizes, steps[None], weights))
    critical = least_samples / least_steps if least_steps > 0 else math.inf
    fit = {"critical": critical, "least_steps": least_steps, "least_samples": least_samples}
    if not are_known:
        return nothing | fit | {"fits": True}
    misfit = float(np.square((steps - least_steps - least_samples / sizes) * weights).sum())
    if chdtrc(len(sizes) - 2, misfit) < FIT:
        return nothing | {"fits": False}
    rng = np.random.default_rng(_SEED)
    drawn = steps * np.exp(errors * rng.standard_normal((DRAWS, len(steps))))
    of_steps, of_samples = form(sizes, drawn, weights)
    with np.errstate(divide="ignore"):
        ends = np.quantile(of_samples / of_steps, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return nothing | fit | {"critical_low": float(ends[0]), "critical_high": float(ends[1]), "fits": True}
