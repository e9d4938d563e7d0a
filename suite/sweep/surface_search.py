"""The settings of a search in a sweep's YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from suite.sweep.grid import Axis

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

    def most_settings(self, axes: Iterable[Axis], grid: int) -> int:
        """Largest number of settings that one optimizer is given at one batch size.

        Args:
            axes: of the grid, which a search extends past its ends.
            grid: number of settings in it.

        Returns:
            `most`; no more than the grid has where it cannot be extended.
        """
        grows = any(axis.extended("low") or axis.extended("high") for axis in axes)
        return self.most if grows else min(self.most, grid)
