"""At which steps of a run is something measured?"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from suite.fields import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timetable:
    """Steps of a run, counted from 0 as in its curves; what is asked for in several ways is measured once.

    Attributes:
        every: steps between measurements; None: none for this reason.
        times: so many measurements between first and last step, evenly spread on a logarithmic axis; None: none for
            this reason.
        first: whether to measure at step 0, before anything is trained.
        last: whether to measure at the end.
    """

    every: int | None = None
    times: int | None = None
    first: bool = True
    last: bool = True

    def __post_init__(self) -> None:
        for name in ("every", "times"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "at least 1, or null", value)

    def due(self, step: int, end: int) -> bool:
        """Whether step ``step`` is measured in a run whose last step to measure is ``end``."""
        if step == 0 or step >= end:
            return (self.first and step == 0) or (self.last and step == end)
        if self.every is not None and step % self.every == 0:
            return True
        return self.times is not None and step in log_spaced(self.times, end)


@functools.lru_cache(maxsize=64)
def log_spaced(times: int, end: int) -> frozenset[int]:
    """At most ``times`` steps between 1 and ``end``, evenly spread on a logarithmic axis, the ends left out."""
    return frozenset(np.geomspace(1, max(1, end), times + 2)[1:-1].round().astype(int).tolist())
