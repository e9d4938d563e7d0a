"""A recording without a GPU: it repeats work by doing it again, and writes the results where the first ones were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class PretendedCapture:
    """Stands in for `suite.training.captured_step.CudaCapture`.

    Args:
        launching: share of a plain step's time that launching takes.
        repeated: time of a repeated step as a share of a plain one's.
        spoil: changes the results of every repetition, in place.
        is_stale: whether repetitions do nothing, as if they read another batch than the one that comes.
        error: raised by every recording.

    Attributes:
        recordings: number of recordings.
        repetitions: number of repetitions.
    """

    def __init__(
        self,
        *,
        launching: float = 0.9,
        repeated: float = 0.1,
        spoil: Callable[[dict[str, list[Tensor]]], None] = lambda results: None,
        is_stale: bool = False,
        error: Exception | None = None,
    ) -> None:
        self.launching, self.repeated = launching, repeated
        self.spoil, self.is_stale, self.error = spoil, is_stale, error
        self.recordings = self.repetitions = 0

    def record(self, work: Callable[[], dict[str, list[Tensor]]]) -> tuple[Callable[[], None], Any]:
        if self.error is not None:
            raise self.error
        self.recordings += 1
        results = work()

        def repeat() -> None:
            self.repetitions += 1
            if self.is_stale:
                return
            again = work()
            with torch.no_grad():
                for name, tensors in results.items():
                    torch._foreach_copy_(tensors, again[name])
                self.spoil(results)

        return repeat, results

    def timed(self, work: Callable[[], Any]) -> tuple[Any, float, float]:
        before = self.repetitions
        value = work()
        whole = self.repeated if self.repetitions > before else 1.0
        return value, self.launching * whole, whole
