"""Until when a sweep goes on: reporting seeds are added where the verdict needs them, at looks that are fixed before.

::

    until: {precision: 0.5, level: 0.95, most_runs: 300}

The first look at the verdicts comes after the reporting seeds of the sweep, or after `FIRST` of them where it lists
none. At each of the `LOOKS` looks the tuned settings of a batch size whose verdict is open or leans are trained with
twice as many seeds as before. Looking several times finds a gap that is none more often than looking once; so every
look asks for a confidence at which all of them together are wrong as often as one is at ``level`` (Bonferroni). That
holds however the looks depend on each other; `benchmarks/verdicts.py` measures it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

FIRST = 3
"""Reporting seeds of the first look, where the sweep lists none."""

LOOKS = 4
"""Looks at most: with 3 seeds, 6, 12 and 24."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Until:
    """The end of a sweep that goes on until there is a verdict."""

    precision: float = dataclasses.field(default=0.5, metadata={"above": 0, "below": 100})
    """Percent of the loss within which two optimizers are called level; it takes the place of margin."""

    level: float = dataclasses.field(default=0.95, metadata={"above": 0.5, "below": 1})
    """Confidence of every verdict, over all looks together."""

    most_runs: int = dataclasses.field(default=1000, metadata={"at_least": 1, "at_most": 150_000})
    """Number of runs of the sweep beyond which no reporting seeds are added."""

    @property
    def level_of_a_look(self) -> float:
        """Confidence that a verdict needs at one look."""
        return 1 - (1 - self.level) / LOOKS

    def as_record(self, looks: list[list[int]]) -> dict[str, object]:
        """The rule as a plan keeps it.

        Args:
            looks: see `seeds`.
        """
        seeds = [len(seeds) for seeds in looks]
        return {**dataclasses.asdict(self), "looks": seeds, "level_of_a_look": self.level_of_a_look}

    @classmethod
    def from_record(cls, kept: Mapping[str, object]) -> Until:
        """The rule that a plan keeps; see `as_record`."""
        return cls(**{field.name: kept[field.name] for field in dataclasses.fields(cls) if field.name in kept})  # type: ignore[arg-type]

    def seeds(self, listed: list[int], used: list[int]) -> list[list[int]]:
        """The reporting seeds of every look, those of earlier looks included.

        Args:
            listed: the sweep's own reporting seeds.
            used: seeds that choose.
        """
        first = max(FIRST, len(listed))
        following = max([0, *listed, *used]) + 1
        seeds = [*listed, *range(following, following + first * 2 ** (LOOKS - 1) - len(listed))]
        return [seeds[: first * 2**look] for look in range(LOOKS)]
