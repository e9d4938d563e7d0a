"""What every diagnostic is: settings, a timetable, and one function from a moment of a run to numbers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from suite.diagnostics.timetable import is_due
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
    """``weights``: at step s, those that s updates made, the last time those of the end. ``update``: what step s does,
    the last time the last step."""

    needs: ClassVar[frozenset[Part]] = frozenset()
    """What is to be kept of a step for it."""

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
        """Steps that it wants to be shown for one measurement, the measured one the last."""
        return 1

    def attends(self, step: int, steps: int) -> bool:
        """Whether it wants to be shown a step."""
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
