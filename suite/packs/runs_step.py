"""One step of R runs: the tensors that it reads and writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from suite.optim.broadcast import LaterStep, Number


class NetworkTensors(NamedTuple):
    """What the networks of R runs compute with.

    Attributes:
        flat: parameters, ``[R, P]``.
        by_run: buffers that a network saves (running statistics), by name, with a leading run dimension.
        shared: buffers that it does not save (tables), by name, one for all runs.
    """

    flat: Tensor
    by_run: dict[str, Tensor]
    shared: dict[str, Tensor]


class PackTensors(NamedTuple):
    """Everything that a step of R runs reads and writes.

    Attributes:
        network: parameters and buffers; written in place.
        alive: bool ``[R, 1]``, which runs have not diverged; written in place.
        rule_buffers: see `RunsOptimizer.buffers`; written in place.
        numbers: see `RunsOptimizer.numbers`.
    """

    network: NetworkTensors
    alive: Tensor
    rule_buffers: dict[str, dict[str, Tensor]]
    numbers: list[dict[str, Tensor]]


@dataclasses.dataclass(frozen=True)
class RunsStep:
    """One optimizer step of R runs: what the rules read and write.

    Attributes:
        flat: parameters, ``[R, P]``; written in place.
        grad: gradients, ``[R, P]``.
        buffers: see `RunsOptimizer.buffers`; written in place.
        numbers: see `RunsOptimizer.numbers`.
        count: 1 for the first step; a `LaterStep` where the step is traced.
        multiplier: of the learning rates.
        alive: bool ``[R, 1]``, the runs that are moved; None: all.
    """

    flat: Tensor
    grad: Tensor
    buffers: Mapping[str, Mapping[str, Tensor]]
    numbers: Sequence[Mapping[str, Tensor]]
    count: Any
    multiplier: Number = 1.0
    alive: Tensor | None = None

    @property
    def is_traced(self) -> bool:
        """Whether the step becomes a graph: its elementwise arithmetic will be fused and needs no cutting."""
        return isinstance(self.count, LaterStep)
