"""What a search says of its tuned point: the loss of the chosen setting above that of the best one, and the rule.

A search has no rows of neighbours through which a quadratic could be laid. So the surface is the one that it was guided
by (`suite.surface.model`), after all its runs; the best setting may lie between those of the lattice, half a step from
the chosen one at most.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from suite.analysis.surface import Excess, Tried
from suite.analysis.table import Lattice
from suite.analysis.verdict import SURFACE_FREEDOM
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
    steps = np.array(list(itertools.product(*halves))).reshape(-1, numbers)
    points = np.tile(here, (len(steps), 1))
    points[:, :numbers] += steps
    return points


def search_sentence(plan: Mapping[str, Any], runs: int) -> str:
    """The rule of a plan's search and what it saved; empty without a search.

    Args:
        plan: see `suite.records.Store.plan`.
        runs: how many chose.
    """
    rule = plan.get("search") or {}
    if not rule:
        return ""
    grid = sum(group["grid"] for group in rule["groups"]) * len(plan["seeds"])
    open_ones = sum(not group["over"] for group in rule["groups"])
    state = f" {open_ones} of {len(rule['groups'])} searches are not over." if open_ones else ""
    return (
        f"Settings were searched, not crossed: {runs} runs chose where the whole grid has {grid}. A search ends when "
        f"the chance that an untried setting is better by more than {rule['precision']:g}% of the loss is below "
        f"{rule['chance']:.0%}, or after {rule['most']} settings; the rule is the same for every optimizer.{state}"
    )
