"""How tuned settings move with the batch size: fitted power laws, against the rules that predict them.

**Quantities.** Every number that was tuned; of momenta and betas one minus their value, which is the share by which a
step renews an average; of heavy-ball SGD also the length ``lr / (1 - momentum)`` of its steps; settings that a sweep
gives as a half-life or a time scale in tokens, as such.

**Points.** The tuned value, moved to the vertex of the parabola through it and its neighbours on the grid (other
settings at their best), where both trained, and no further than half way to them. Points on the edge of their grid are
bounds and take no part.

**Fit.** Least squares on logarithms (`suite.analysis.power_law`). The scatter about a law is at least that of a value
that a grid rounds: its step over the root of 12.

**Rules.** The learning rate grows as the root of the batch size (Malladi et al. 2022, for adaptive optimizers), the
step length of SGD as the batch size itself (Goyal et al. 2017); one minus a momentum or beta grows as the batch size
where its half-life in tokens is kept, and half-lives and time scales in tokens do not move. Paper 4 keeps the half-life
of Adam's beta2; on momenta and other betas its rule is applied here, and what contradicts it there does not contradict
the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.power_law import PowerLaw, power_law
from suite.analysis.table import is_heavy_ball
from suite.analysis.tuned import POINT, choosing, lowest_losses
from suite.analysis.verdict import LEVEL
from suite.analysis.words import listed, optimizer_title, setting_title
from suite.records.tuning import is_momentum, is_ordered, is_time

POINTS = ["task", "optimizer", "quantity", "batch_size", "value", "step", "edge"]
COLUMNS = [
    "task", "optimizer", "quantity", "points", "on_edge", "at_batch_size_1", "exponent", "low", "high",
    "rule", "rule_exponent", "judgement",
]  # fmt: skip

LEAST_POINTS = 3
"""Batch sizes below which a law passes through everything."""

RULES = {"lr": ("square root", 0.5), "lr / (1 - momentum)": ("linear", 1.0)}
"""Quantity -> name of its rule and the exponent."""

_HALF_LIFE = ("half-life of beta2", 1.0)
_APPLIED = ("half-life of beta2, applied here", 1.0)
_KEPT = ("kept in tokens", 0.0)


def tuned_values(runs: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """The tuned values of every quantity over batch sizes.

    Args:
        runs: see `suite.analysis.table`.
        tuned: see `suite.analysis.tuned.tuned_points`.

    Returns:
        The columns `POINTS`; ``step`` is that of the grid in the natural logarithm of the quantity, ``edge`` whether
        the value lies at an end of its grid.
    """
    groups = dict(iter(choosing(runs).groupby(POINT, sort=False)))
    rows: list[dict[str, Any]] = []
    for point in tuned[np.isfinite(tuned["loss"].to_numpy(dtype=float))].itertuples(index=False):
        group = groups.get((point.task, point.optimizer, point.batch_size))
        if group is None:
            continue
        key = {name: getattr(point, name) for name in POINT}
        of_point = {
            name: values
            for name, value in point.setting
            if is_ordered([value]) and (values := _value(group, name, value, dict(point.edges))) is not None
        }
        rows += [key | {"quantity": quantity_of(name)} | values for name, values in of_point.items()]
        sums = group["heavy_ball"].all() if "heavy_ball" in group else is_heavy_ball(str(point.optimizer), {})
        if sums and {"lr", "momentum"} <= of_point.keys():
            rows.append(key | {"quantity": "lr / (1 - momentum)"} | _length(of_point["lr"], of_point["momentum"]))
    return pd.DataFrame(rows, columns=POINTS)


def quantity_of(name: str) -> str:
    """The quantity of a setting that follows a law: ``1 - beta`` of a beta, else the setting itself."""
    return f"1 - {name}" if is_momentum(name) else name


def law_of(points: pd.DataFrame) -> PowerLaw | None:
    """The law of one optimizer's quantity; None with fewer than `LEAST_POINTS` batch sizes off the edges."""
    inside = points[~points["edge"].astype(bool)]
    if inside["batch_size"].nunique() < LEAST_POINTS:
        return None
    sizes, values, steps = (inside[name].to_numpy(dtype=float) for name in ("batch_size", "value", "step"))
    return power_law(sizes, values, least_scatter=float(np.mean(steps)) / math.sqrt(12))


def tuned_laws(values: pd.DataFrame) -> pd.DataFrame:
    """The laws of all quantities that have one.

    Args:
        values: see `tuned_values`.

    Returns:
        The columns `COLUMNS`: ``points`` that are fitted, ``on_edge`` that are not; ``low`` and ``high`` end the 95%
        interval of the ``exponent``; ``judgement``: whether that interval ``agrees`` with the rule's exponent,
        ``contradicts`` it or leaves it ``open`` (`suite.analysis.power_law.PowerLaw.judged`); empty without a rule.
    """
    rows = []
    for (task, optimizer, quantity), points in values.groupby(POINTS[:3], sort=False):
        law = law_of(points)
        if law is None:
            continue
        rule, exponent = rule_of(str(quantity))
        low, high = law.interval
        rows.append(
            {"task": task, "optimizer": optimizer, "quantity": quantity, "points": law.points}
            | {"on_edge": int(points["edge"].sum()), "at_batch_size_1": law.factor, "exponent": law.exponent}
            | {"low": low, "high": high, "rule": rule, "rule_exponent": exponent}
            | {"judgement": law.judged(exponent) if rule else ""}
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def rule_of(quantity: str) -> tuple[str, float]:
    """Name and exponent of the rule for a quantity; empty and NaN without one."""
    last = quantity.removeprefix("1 - ").rpartition(".")[2]
    if quantity.startswith("1 - "):
        return _HALF_LIFE if last == "beta2" else _APPLIED
    return _KEPT if is_time(quantity) else RULES.get(quantity) or RULES.get(last) or ("", math.nan)


def quantity_title(quantity: str) -> str:
    """How a quantity is written for people: ``1 - beta``, ``learning rate``."""
    return quantity if " - " in quantity else setting_title(quantity)


def law_sentences(laws: pd.DataFrame) -> list[str]:
    """How the tuned settings move, a sentence for every task and optimizer.

    Args:
        laws: see `tuned_laws`.
    """
    sentences, several = [], laws["task"].nunique() > 1
    for (task, optimizer), rows in laws.groupby(["task", "optimizer"], sort=False):
        parts = []
        for row in rows.itertuples(index=False):
            power = f"{quantity_title(str(row.quantity))} as the batch size to the {row.exponent:.2f}"
            where = f"({LEVEL:.0%} interval {row.low:.2f} to {row.high:.2f})"
            parts.append(f"{power} {where}{_judged(row)}")
        head = f"{task}, {optimizer_title(str(optimizer))}" if several else optimizer_title(str(optimizer))
        sentences.append(f"{head}: {listed(parts)}.")
    return sentences


def _judged(row: Any) -> str:
    if not row.rule:
        return ""
    rule = f"the rule '{row.rule}' ({row.rule_exponent:g})"
    words = {"agrees": f", which agrees with {rule}", "contradicts": f", which contradicts {rule}"}
    return words.get(row.judgement, f", which leaves {rule} open")


def _value(group: pd.DataFrame, name: str, value: float, edges: Mapping[str, str]) -> dict[str, Any] | None:
    """Value, step and edge flag of one tuned number; None where it did not vary or has no logarithm."""
    losses = {x: loss for (x,), loss in lowest_losses(group, [name]).items() if is_ordered([x])}
    at = {x: log for x in losses if (log := _log(name, x)) is not None}
    if value not in at or len(at) < 2:
        return None
    logs = sorted(at.values())
    ordered = sorted(at, key=lambda x: at[x])
    rank = ordered.index(value)
    around = ordered[max(0, rank - 1) : rank + 2]
    steps = np.diff([at[x] for x in around])
    middle = at[value]
    if len(around) == 3 and name not in edges:
        middle = _vertex(np.array([at[x] for x in around]), np.array([losses[x] for x in around]))
    return {"value": math.exp(middle), "step": float(steps.mean()) if len(steps) else logs[1] - logs[0],
            "edge": name in edges}  # fmt: skip


def _log(name: str, value: float) -> float | None:
    shown = 1 - value if is_momentum(name) else value
    return math.log(shown) if shown > 0 else None


def _vertex(at: np.ndarray, losses: np.ndarray) -> float:
    """Where the parabola through three points is lowest, at most half way to either neighbour of the middle one."""
    if not np.isfinite(losses).all():
        return float(at[1])
    left, right = at[0] - at[1], at[2] - at[1]
    below, above = losses[0] - losses[1], losses[2] - losses[1]
    curvature = (above / right - below / left) / (right - left)
    if curvature <= 0:
        return float(at[1])
    slope = below / left - curvature * left
    return float(at[1] + np.clip(-slope / (2 * curvature), left / 2, right / 2))


def _length(rate: Mapping[str, Any], renewed: Mapping[str, Any]) -> dict[str, Any]:
    """The step length of a heavy ball: its rate over one minus its momentum."""
    return {
        "value": rate["value"] / renewed["value"],
        "step": math.hypot(rate["step"], renewed["step"]),
        "edge": rate["edge"] or renewed["edge"],
    }
