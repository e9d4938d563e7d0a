"""Effects of a task's settings on the gap, from a sweep whose panels vary them.

The gaps of one pair of optimizers at one batch size, a panel each, are taken apart by the settings that differ between
the panels: a setting of two values has an effect, one of more values an effect for each against the first. In a full
crossing the *effect* of a setting is the mean gap at its value less that at its first value, over all combinations of
the others; in any other design what least squares gives with all settings' effects at once. Two settings of two values
each that are crossed have an *interaction*: half the difference that the second value of the one makes to the effect of
the other.

Errors are those of the gaps (`suite.analysis.gap`), propagated; intervals are Student's t with the degrees of freedom
of the sum (Satterthwaite 1946).

**Share of the gap.** What part of the fitted gap at the settings' first values the effect takes away: 100% closes the
gap, above that it turns, below 0% it widens. The fitted gap is what effects and interactions add up to there; the
measured gap of the panel with these values may be another. The share's interval is that of `DRAWS` draws of the gaps.
It is given where the fitted gap excludes zero at 95%; the share of nothing is no number.

**Explained.** The share of the variance of the gaps between panels that the effects explain together, and that they
explain with the interactions, where these leave panels to test them by; the rest is what settings do beyond that, and
noise, whose share by the gaps' errors is said beside it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.families import Settings, factors, short_name
from suite.analysis.gap import SERIES
from suite.analysis.verdict import LEVEL, Interval, combined, holm
from suite.analysis.words import format_value
from suite.fields import budget_text

DRAWS = 2000
_SEED = 0

COLUMNS = [
    "task", "reference", "challenger", "batch_size", "effect_of", "kind", "panels", "effect", "error", "freedom", "low",
    "high", "p", "corrected", "share_of_gap", "share_low", "share_high",
]  # fmt: skip

EXPLAINED = [
    "task", "reference", "challenger", "batch_size", "panels", "gap_at_first", "gap_low", "gap_high",
    "explained_by_effects", "explained_with_interactions", "noise_share",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Term:
    """A column of the design.

    Attributes:
        name: what its effect is called.
        kind: ``effect`` or ``interaction``.
        column: of the design, shape ``[panels]``.
    """

    name: str
    kind: str
    column: np.ndarray


def effects_tables(gaps: pd.DataFrame, panels: Mapping[str, Settings]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The effects at every batch size, and what they explain.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        panels: see `suite.analysis.families.panel_settings`.

    Returns:
        The columns `COLUMNS` and `EXPLAINED`. Effects and gaps are relative, in percent of the reference's loss;
        ``low`` and ``high`` end 95% intervals; ``corrected`` says whether an effect is not zero after Holm's correction
        for the number of effects and interactions of its task and pair at all batch sizes; shares are between 0 and 1
        and beyond; ``gap_at_first``, with its ends, is the fitted gap at all settings' first values. Both are without
        rows where fewer than two panels of one task differ, or their effects cannot be told apart.
    """
    rows: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    for task in dict.fromkeys(str(settings["task"]) for settings in panels.values()):
        of_task = {label: settings for label, settings in panels.items() if settings["task"] == task}
        varied = {name: values for name, values in factors(of_task).items() if name != "task"}
        if not varied:
            continue
        at = gaps[gaps["task"].isin(list(of_task)) & np.isfinite(gaps["relative_gap"].to_numpy(dtype=float))]
        for (reference, challenger, size), group in at.groupby([*SERIES[1:], "batch_size"], sort=False):
            key = {"task": task, "reference": reference, "challenger": challenger, "batch_size": size}
            terms = _terms([of_task[label] for label in group["task"]], varied)
            if terms:
                added, summary = _effects(group, terms)
                rows += [key | row for row in added]
                summaries.append(key | summary)
    effects = pd.DataFrame(rows, columns=COLUMNS)
    effects["corrected"] = effects.groupby(SERIES, sort=False)["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return effects.astype({"corrected": bool}), pd.DataFrame(summaries, columns=EXPLAINED)


def _terms(settings: Sequence[Settings], varied: Mapping[str, Sequence[Any]]) -> list[_Term]:
    """The columns of the design; none where the panels cannot tell the effects apart."""
    indices = {
        name: np.array([[json.dumps(v) for v in values].index(json.dumps(s.get(name))) for s in settings])
        for name, values in varied.items()
    }
    indices = {name: index for name, index in indices.items() if len(set(index)) > 1}
    effects = [
        _Term(name=_effect_name(name, varied[name], level), kind="effect", column=_coded(index == level))
        for name, index in indices.items()
        for level in range(1, len(varied[name]))
        if (index == level).any()
    ]
    if not effects or not _independent(effects):
        return []
    two = {name: _coded(index == 1) for name, index in indices.items() if len(varied[name]) == 2}
    interactions = [
        _Term(name=f"{short_name(one)} with {short_name(other)}", kind="interaction", column=2 * two[one] * two[other])
        for one, other in itertools.combinations(two, 2)
    ]
    return effects + (interactions if interactions and _independent([*effects, *interactions]) else [])


def _coded(chosen: np.ndarray) -> np.ndarray:
    """A half where a setting has a value, minus a half elsewhere: its coefficient is the effect at the others' mean."""
    return np.where(chosen, 0.5, -0.5)


def _independent(terms: Sequence[_Term]) -> bool:
    design = _design(terms)
    return bool(np.linalg.matrix_rank(design) == design.shape[1])


def _design(terms: Sequence[_Term]) -> np.ndarray:
    return np.column_stack([np.ones(len(terms[0].column)), *(term.column for term in terms)])


def _effect_name(name: str, values: Sequence[Any], level: int) -> str:
    start, other = values[0], values[level]
    if (budget := budget_text(name, start)) and (other_budget := budget_text(name, other)):
        return f"{other_budget} (not {budget})"
    shown = ["default" if value is None else str(value).lower() if isinstance(value, bool) else format_value(value)
             for value in (start, other)]  # fmt: skip
    return f"{short_name(name)} {shown[1]} (not {shown[0]})"


def _effects(group: pd.DataFrame, terms: Sequence[_Term]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of the effects of one pair at one batch size, and what they explain."""
    values, errors, freedoms = (
        group[name].to_numpy(dtype=float) for name in ("relative_gap", "relative_error", "freedom")
    )
    design = _design(terms)
    solve = np.linalg.pinv(design)
    first = np.array([1.0, *(0.5 if term.kind == "interaction" else -0.5 for term in terms)])
    at_first = first @ solve  # weights of the gaps in the fitted gap at the settings' first values
    is_known = bool((np.isfinite(errors) & (freedoms > 0)).all())
    drawn = values[None]
    if is_known:
        drawn = values + errors * np.random.default_rng(_SEED).standard_t(freedoms, (DRAWS, len(values)))
    start = _interval(at_first, values, errors, freedoms) if is_known else None
    rows = []
    for number, term in enumerate(terms, start=1):
        interval = _interval(solve[number], values, errors, freedoms) if is_known else None
        row = {"effect_of": term.name, "kind": term.kind, "panels": len(group)} | _ends(
            interval, solve[number] @ values
        )
        if term.kind == "effect" and start is not None and start.excludes_zero():
            shares = -(drawn @ solve[number]) / (drawn @ at_first)
            low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            row |= {
                "share_of_gap": -float(solve[number] @ values) / start.estimate,
                "share_low": low,
                "share_high": high,
            }
        rows.append(row)
    half = math.nan if start is None else start.half_width()
    middle = float(at_first @ values)
    summary = {"panels": len(group), "gap_at_first": middle, "gap_low": middle - half, "gap_high": middle + half}
    return rows, summary | _explained(values, errors, terms)


def _interval(weights: np.ndarray, values: np.ndarray, errors: np.ndarray, freedoms: np.ndarray) -> Interval:
    """A weighted sum of gaps with its error."""
    used = np.abs(weights) > 1e-12
    error, freedom = combined(np.abs(weights[used]) * errors[used], freedoms[used])
    return Interval(estimate=float(weights @ values), error=float(error), freedom=float(freedom))


def _ends(interval: Interval | None, estimate: float) -> dict[str, float]:
    if interval is None:
        return {"effect": float(estimate)} | dict.fromkeys(("error", "low", "high", "p"), math.nan) | {"freedom": 0.0}
    half = interval.half_width()
    return {
        "effect": interval.estimate, "error": interval.error, "freedom": interval.freedom,
        "low": interval.estimate - half, "high": interval.estimate + half, "p": interval.p,
    }  # fmt: skip


def _explained(values: np.ndarray, errors: np.ndarray, terms: Sequence[_Term]) -> dict[str, float]:
    """Shares of the variance between panels."""
    total = float(np.square(values - values.mean()).sum())
    effects = [term for term in terms if term.kind == "effect"]

    def share(of: Sequence[_Term]) -> float:
        design = _design(of)
        if design.shape[1] >= len(values):  # it passes through every gap, whatever they are
            return math.nan
        left = values - design @ (np.linalg.pinv(design) @ values)
        return 1 - float(left @ left) / total if total > 0 else math.nan

    noise = float(np.square(errors).mean()) * (len(values) - 1) / total if total > 0 else math.nan
    return {
        "explained_by_effects": share(effects),
        "explained_with_interactions": share(terms) if len(terms) > len(effects) else math.nan,
        "noise_share": noise,
    }
