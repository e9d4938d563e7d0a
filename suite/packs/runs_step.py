"""The tensors that one step of R runs reads and writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from suite.optim.broadcast import LaterStep
from suite.optim.schedule import Rate

PEAK = Rate(1.0)


class NetworkTensors(NamedTuple):
    """The parameters and buffers of the networks of R runs.

    Attributes:
        flat: parameters, ``[R, P]``.
        by_run: buffers that a network saves (running statistics), by name, with a leading run dimension.
        shared: buffers that a network does not save (tables), by name, one for all runs.
    """

    flat: Tensor
    by_run: dict[str, Tensor]
    shared: dict[str, Tensor]


class PackTensors(NamedTuple):
    """Everything that a step of R runs reads and writes.

    Attributes:
        network: parameters and buffers; written in place.
        alive: which runs have not diverged, bool ``[R, 1]``; written in place.
        rule_buffers: see `RunsOptimizer.buffers`; written in place.
        numbers: see `RunsOptimizer.numbers`.
    """

    network: NetworkTensors
    alive: Tensor
    rule_buffers: dict[str, dict[str, Tensor]]
    numbers: list[dict[str, Tensor]]


@dataclasses.dataclass(frozen=True)
class RunsStep:
    """The tensors that the rules read and write in one optimizer step of R runs.

    Attributes:
        flat: parameters, ``[R, P]``; written in place.
        grad: gradients, ``[R, P]``.
        buffers: see `RunsOptimizer.buffers`; written in place.
        numbers: see `RunsOptimizer.numbers`.
        count: 1 for the first step; a `LaterStep` if the step is traced.
        rate: learning rates, from their peaks.
        alive: which runs are updated, bool ``[R, 1]``; None: all.
    """

    flat: Tensor
    grad: Tensor
    buffers: Mapping[str, Mapping[str, Tensor]]
    numbers: Sequence[Mapping[str, Tensor]]
    count: Any
    rate: Rate = PEAK
    alive: Tensor | None = None

    @property
    def is_traced(self) -> bool:
        """Whether the step is being traced; its elementwise arithmetic will be fused and is not cut into pieces."""
        return isinstance(self.count, LaterStep)
