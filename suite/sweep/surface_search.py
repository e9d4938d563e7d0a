"""The settings of a search in a sweep's YAML."""

from __future__ import annotations

import dataclasses

CHANCE = 0.1
"""Chance of a better untried setting below which a search is over."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceSearch:
    """``search: surface``, or ``search: {precision: 0.25, most: 40, batch: 4}``; see `suite.sweep.search`."""

    precision: float = dataclasses.field(default=0.25, metadata={"above": 0, "below": 100})
    """Percent of the loss: a search is over when an untried setting is unlikely to be better by more."""

    most: int = dataclasses.field(default=40, metadata={"at_least": 2, "at_most": 1000})
    """Largest number of settings that one optimizer is given at one batch size."""

    batch: int = dataclasses.field(default=4, metadata={"at_least": 1, "at_most": 64})
    """Number of settings that are trained between two looks at the surface; a pack at most."""
