"""The base class of diagnostics: settings, the steps of measurements, and one function from a moment to numbers."""

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
"""``(quantity, group)`` -> number, or 0-d tensor, which is copied to the host later."""

Part = Literal["raw", "clipped", "before"]
"""Gradient before clipping, gradient after it, weights before the update."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """A quantity that is measured at chosen steps of a run without changing the training.

    Attributes:
        every: number of steps between measurements; null: as set by ``times``, or by default if that is null too.
        times: number of measurements between first and last step, evenly spread on a logarithmic axis.
        first: whether to measure at step 0, before training.
        last: whether to measure at the end.
    """

    every: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    times: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    first: bool = True
    last: bool = True

    default: ClassVar[dict[str, int]] = {"times": 8}
    """``every`` or ``times`` if neither is set; they cost less than 5% of the time on a GPT of 49 million weights."""

    looks_at: ClassVar[Literal["weights", "update"]] = "weights"
    """``weights``: the measurement at step s is of the weights after s updates; the last is of the final weights.
    ``update``: the measurement at step s is of the update of step s; the last is of the last step."""

    needs: ClassVar[frozenset[Part]] = frozenset()
    """Parts of a step that must be kept for the measurement."""

    packable: ClassVar[bool] = True
    """Whether the diagnostic can measure the runs of a pack."""

    def due(self, step: int, steps: int) -> bool:
        """Whether to measure at step ``step`` (0-based) of a run of ``steps`` steps."""
        end = steps - (self.looks_at == "update")
        if step == 0 or step >= end:
            return (self.first and step == 0) or (self.last and step == end)
        if self.every is None and self.times is None:
            return is_due(step, end, **self.default)
        return is_due(step, end, every=self.every, times=self.times)

    @property
    def follows(self) -> int:
        """Number of consecutive steps that one measurement needs; the last of them is the measured one."""
        return 1

    def attends(self, step: int, steps: int) -> bool:
        """Whether a measurement needs step ``step`` (0-based) of a run of ``steps`` steps."""
        return any(self.due(later, steps) for later in range(step, step + self.follows))

    def refuse(self, data: Data) -> None:
        """Check the data before training; by default all data are accepted.

        Raises:
            ValueError: the diagnostic cannot be measured on these data.
        """

    def measure(self, moment: Moment) -> Values:
        """The measured values; empty at a step that a later measurement needs but that is not measured itself."""
        raise NotImplementedError

    def at_end(self, grad_norms: list[float], clipping: Clipping) -> dict[int, Values]:
        """Values that follow from the run's gradient norms alone, by step.

        Args:
            grad_norms: gradient norm of every step, before clipping.
            clipping: the run's clipping.
        """
        return {}


def is_due(step: int, end: int, *, every: int | None = None, times: int | None = None) -> bool:
    """Whether to measure at a step between the first and the last step of a run.

    Args:
        step: 0-based step, as in the run's curves; the result is False for the first and the last step.
        end: the last step.
        every: number of steps between measurements; None: not used.
        times: number of measurements, evenly spread on a logarithmic axis; None: not used.
    """
    if not 0 < step < end:
        return False
    return (every is not None and step % every == 0) or (times is not None and step in log_spaced(times, end))


@functools.lru_cache(maxsize=64)
def log_spaced(times: int, end: int) -> frozenset[int]:
    """At most ``times`` steps between 1 and ``end``, evenly spread on a logarithmic axis, without its ends."""
    return frozenset(np.geomspace(1, max(1, end), times + 2)[1:-1].round().astype(int).tolist())
