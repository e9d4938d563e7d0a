"""Panels that belong together: those of one task that differ in some settings, and of these those of several budgets.

A sweep with several panels of one task varies settings of the task. Those that set the budget make a *family*: the same
question at several budgets, over which a law can be fitted. All others are *factors*, whose effects on the gap can be
told apart.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from suite.analysis.target import tokens_of
from suite.analysis.words import format_value

BUDGETS = ("data.budget_tokens", "data.budget_samples", "data.budget_epochs")
"""Settings that say how much a run may consume; a number of steps is none, since it grows with the batch size."""

_WITH_THE_BUDGET = ("data.eval_every_steps", "data.eval_samples")
"""Settings that may follow the budget and change nothing of the training."""

_EQUAL = 0.05
"""Share by which the budgets of a panel's batch sizes may differ: a budget that is no multiple of a batch is cut."""

Settings = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """Panels that differ in their budget alone.

    Attributes:
        name: what they share and others do not; the task where there are no others.
        tasks: the panels as the runs name them, by ascending budget.
        samples: the budgets.
        tokens_per_sample: NaN for what has no tokens.
    """

    name: str
    tasks: tuple[str, ...]
    samples: tuple[float, ...]
    tokens_per_sample: float = math.nan

    @property
    def unit(self) -> str:
        """``tokens``, or ``samples`` for what has none."""
        return "samples" if math.isnan(self.tokens_per_sample) else "tokens"

    @property
    def budgets(self) -> tuple[float, ...]:
        """The budgets in `unit`."""
        each = 1.0 if math.isnan(self.tokens_per_sample) else self.tokens_per_sample
        return tuple(samples * each for samples in self.samples)


def panel_settings(plan: Mapping[str, Any]) -> dict[str, Settings]:
    """The settings of the task that each panel of a plan changes, by panel; branches and trunks left out."""
    panels = plan.get("panels") or {}
    return {
        label: {"task": panel.get("task", ""), **(panel.get("overrides") or {})}
        for label, panel in panels.items()
        if not panel.get("branch") and not panel.get("checkpoints")
    }


def families(runs: pd.DataFrame, panels: Mapping[str, Settings]) -> list[Family]:
    """The families of two budgets or more.

    Args:
        runs: see `suite.analysis.table`.
        panels: see `panel_settings`.
    """
    groups: dict[str, list[str]] = {}
    for label, settings in panels.items():
        rest = {name: value for name, value in settings.items() if name not in (*BUDGETS, *_WITH_THE_BUDGET)}
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append(label)
    several = {key: labels for key, labels in groups.items() if len(labels) > 1}
    together = []
    for key, labels in several.items():
        budgets = {label: budget for label in labels if (budget := _budget(runs[runs["task"] == label])) is not None}
        ordered = sorted(budgets, key=lambda label: budgets[label])
        if len(ordered) < 2 or len(ordered) < len(labels) or len(set(budgets.values())) < len(budgets):
            continue
        differing = {name: values for name, values in factors(panels).items() if name not in BUDGETS}
        rest = json.loads(key)
        words = [f"{short_name(name)} {format_value(rest[name])}" for name in differing if name in rest]
        tokens = tokens_of(runs[runs["task"].isin(labels)])
        together.append(
            Family(
                name=", ".join(words) or str(rest["task"]),
                tasks=tuple(ordered),
                samples=tuple(budgets[label] for label in ordered),
                tokens_per_sample=tokens,
            )
        )
    return together


def factors(panels: Mapping[str, Settings]) -> dict[str, list[Any]]:
    """The settings whose values differ between panels, each with its values, those of the first panels first."""
    names = dict.fromkeys(name for settings in panels.values() for name in settings)
    varied = {}
    for name in names:
        values = list({json.dumps(s.get(name)): s.get(name) for s in panels.values()}.values())
        if len(values) > 1 and name not in _WITH_THE_BUDGET:
            varied[name] = values
    return varied


def short_name(name: str) -> str:
    """A setting of the task as people call it: ``position scale`` for ``model.position_scale``."""
    return name.rpartition(".")[2].replace("_", " ")


def _budget(runs: pd.DataFrame) -> float | None:
    """Samples that the runs of a panel may consume; None where that depends on the batch size."""
    if runs.empty:
        return None
    samples = (runs["steps"] * runs["batch_size"]).astype(float)
    return float(samples.max()) if samples.min() >= (1 - _EQUAL) * samples.max() else None
