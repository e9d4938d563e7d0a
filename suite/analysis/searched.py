"""What a search says of its tuned point: the loss of the chosen setting above that of the best one, and the rule.

A search has no rows of neighbours through which a quadratic could be laid. So the surface is the one that it was guided
by (`suite.surface.model`), after all its runs; the best setting may lie between those of the lattice, half a step from
the chosen one at most.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.surface import Excess, Tried
from suite.analysis.table import Lattice
from suite.analysis.verdict import LEVEL, SURFACE_FREEDOM
from suite.surface.model import Results, Surface
from suite.surface.space import Space

SAMPLES = 1024

MOST_SETTINGS = 600
"""Settings of the lattice that are asked about: those with the lowest bounds."""


def excess_of_search(chosen: Tried, tried: Sequence[Tried], lattice: Lattice) -> Excess:
    """The excess of a search's chosen setting over the lowest loss on its surface.

    Args:
        chosen: one of ``tried``.
        tried: the settings of the search that have a result; infinite losses count as bad by an unknown amount.
        lattice: the values of every axis.
    """
    axes = dict(lattice)
    space = Space(axes)
    losses, seeds = np.array([point.loss for point in tried]), np.array([float(point.seeds) for point in tried])
    surface = Surface(space, Results(space.at([dict(point.setting) for point in tried]), losses, seeds))
    settings = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    everywhere = space.at(settings)
    here = space.at([dict(chosen.setting)])
    if len(everywhere) > MOST_SETTINGS:
        everywhere = everywhere[np.argsort(surface.lower_bounds(everywhere), kind="stable")[:MOST_SETTINGS]]
    asked = np.concatenate([here, everywhere, _between(here[0], everywhere, space.numbers)])
    drawn = surface.samples(asked, SAMPLES)
    above = drawn[:, 0] - drawn.min(axis=1)
    return Excess(
        loss=float(above.mean()),
        error=float(above.std()),
        freedom=SURFACE_FREEDOM,
        luck=float(drawn[:, 0].mean() - chosen.loss),
    )


def _between(here: np.ndarray, everywhere: np.ndarray, numbers: int) -> np.ndarray:
    """Points half a step from a setting, along every set of axes of numbers, ``[points, columns]``."""
    halves = []
    for axis in range(numbers):
        away = np.unique(everywhere[:, axis]) - here[axis]
        sides = [away[away < 0].max(initial=-np.inf), away[away > 0].min(initial=np.inf)]
        halves.append([0.0, *(step / 2 for step in sides if np.isfinite(step))])
    steps = np.array(list(itertools.product(*halves)), dtype=float).reshape(math.prod(map(len, halves)), numbers)
    points = np.tile(here, (len(steps), 1))
    points[:, :numbers] += steps
    return points


def level_of(plan: Mapping[str, Any]) -> float:
    """The confidence that a verdict of a plan needs: more where verdicts were looked at several times."""
    until = plan.get("until")
    return float(until["level_of_a_look"]) if until else LEVEL


def until_sentence(plan: Mapping[str, Any], runs: pd.DataFrame) -> str:
    """The rule by which a sweep went on until there was a verdict; empty where it did not."""
    until = plan.get("until")
    if not until:
        return ""
    looks = ", ".join(map(str, until["looks"]))
    return (
        "Reporting seeds were added where a verdict was open or leant and seeds could decide it, and looked at with "
        f"{looks} seeds at most. Every look asks for {level_of(plan):.2%} confidence, so that all together name a "
        f"false winner with a chance of at most {1 - until['level']:.0%} per verdict. "
        f"{int(runs['reporting'].sum())} runs report."
    )


def skip_sentence(plan: Mapping[str, Any]) -> str:
    """Which settings a sweep was told not to train; empty where all were."""
    entries = plan.get("skip") or []
    if not entries:
        return ""
    words = "; ".join(", ".join(f"{name} {_listed(value)}" for name, value in entry.items()) for entry in entries)
    return f"Settings that the sweep's YAML skips were not trained: {words}. A tuned point is the best of the others."


def _listed(value: Any) -> str:
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)


def search_sentence(plan: Mapping[str, Any], runs: pd.DataFrame) -> str:
    """The rule of a plan's search, what it has cost and what the grid would have; empty without a search.

    Args:
        plan: see `suite.records.Store.plan`.
        runs: see `suite.analysis.table.load_runs`.
    """
    rule = plan.get("search") or {}
    if not rule:
        return ""
    chose = runs[~runs["reporting"]]
    seeds, grid, grid_seconds, at_most = len(plan.get("seeds") or [0]), 0, 0.0, 0
    for group in rule["groups"]:
        same = (chose["optimizer"] == group["optimizer"]) & (chose["batch_size"] == group["batch_size"])
        if group.get("panel"):
            same &= chose["task"] == group["panel"]
        each = chose.loc[same, "total_seconds"].mean()
        at_most += group["over"] and chose.loc[same, "setting"].nunique() >= rule["most"]
        grid, grid_seconds = grid + seeds * group["grid"], grid_seconds + seeds * group["grid"] * each
    open_ones = sum(not group["over"] for group in rule["groups"])
    state = f" {open_ones} of {len(rule['groups'])} searches are not over." if open_ones else ""
    as_some = f", as {at_most} of {len(rule['groups'])} did" if at_most else ""
    took = chose["total_seconds"].sum() / 60
    whole = "" if math.isnan(grid_seconds) else f" (about {grid_seconds / 60:.1f} minutes)"
    return (
        f"Settings were searched, not crossed: {len(chose)} runs chose ({took:.1f} minutes of training), where the "
        f"whole grid has {grid}{whole}. A search ends when the chance that an untried setting is better by more than "
        f"{rule['precision']:g}% of the loss is below {rule['chance']:.0%}, or after {rule['most']} settings{as_some}; "
        "the rule is the same for every optimizer."
        f"{state}"
    )
