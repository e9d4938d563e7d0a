"""At which steps of a run is something measured?"""

from __future__ import annotations

import functools

import numpy as np


def is_due(step: int, end: int, *, every: int | None = None, times: int | None = None) -> bool:
    """Whether a step is measured, of those between a run's first and its last.

    Args:
        step: counted from 0 as in the run's curves; the first and the last are never due here.
        end: the last step.
        every: steps between measurements; None: none for this reason.
        times: so many measurements, evenly spread on a logarithmic axis; None: none for this reason.
    """
    if not 0 < step < end:
        return False
    return (every is not None and step % every == 0) or (times is not None and step in log_spaced(times, end))


@functools.lru_cache(maxsize=64)
def log_spaced(times: int, end: int) -> frozenset[int]:
    """At most ``times`` steps between 1 and ``end``, evenly spread on a logarithmic axis, the ends left out."""
    return frozenset(np.geomspace(1, max(1, end), times + 2)[1:-1].round().astype(int).tolist())
