"""Base class of the diagnostics: settings, a timetable, and one function from a moment of a run to numbers."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from torch import Tensor

from suite.optim import Clipping

if TYPE_CHECKING:
    from suite.diagnostics.moment import Moment
    from suite.training.data import Data

Values = dict[tuple[str, str], float | Tensor]
"""``(quantity, group)`` -> number or 0-d tensor, which is read when the block of steps ends."""

Part = Literal["raw", "clipped", "before"]
"""Gradient before clipping, gradient after it, weights before the update."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """A quantity that is measured at chosen steps of a run, without changing what is trained.

    Attributes:
        every: steps between measurements; null: as ``times`` says, and where that is null too, as by default.
        times: so many measurements between first and last step, evenly spread on a logarithmic axis.
        first: whether to measure at step 0, before anything is trained.
        last: whether to measure at the end.
    """

    every: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    times: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    first: bool = True
    last: bool = True

    default: ClassVar[dict[str, int]] = {"times": 8}
    """``every`` or ``times`` where neither is set: on a GPT of 49 million weights for less than 5% of the time."""

    looks_at: ClassVar[Literal["weights", "update"]] = "weights"
    """``weights``: at step s, the weights after s updates; the last time, the final weights.
    ``update``: what step s does; the last time, what the last step does."""

    needs: ClassVar[frozenset[Part]] = frozenset()
    """Parts of a step that must be kept for it."""

    packable: ClassVar[bool] = True
    """Whether it can be measured of the runs of a pack."""

    def due(self, step: int, steps: int) -> bool:
        """Whether it is measured at a step of a run of ``steps`` steps."""
        end = steps - (self.looks_at == "update")
        if step == 0 or step >= end:
            return (self.first and step == 0) or (self.last and step == end)
        if self.every is None and self.times is None:
            return is_due(step, end, **self.default)
        return is_due(step, end, every=self.every, times=self.times)

    @property
    def follows(self) -> int:
        """Number of steps that it must see for one measurement; the last of them is measured."""
        return 1

    def attends(self, step: int, steps: int) -> bool:
        """Whether it must see a step."""
        return any(self.due(later, steps) for later in range(step, step + self.follows))

    def refuse(self, data: Data) -> None:
        """Called before training.

        Raises:
            ValueError: these data cannot be measured so.
        """

    def measure(self, moment: Moment) -> Values:
        """The numbers of one moment; none where it only follows."""
        raise NotImplementedError

    def at_end(self, grad_norms: list[float], clipping: Clipping) -> dict[int, Values]:
        """Numbers that follow from the run's gradient norms alone, by step.

        Args:
            grad_norms: of every step, before clipping.
            clipping: the run's.
        """
        return {}


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
