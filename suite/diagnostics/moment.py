"""What a diagnostic sees: a step of a run, or the weights between two steps."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from suite.optim import parameter_roles
from suite.training.data import Data
from suite.training.task import Task

Tensors = Mapping[str, Tensor]
"""A tensor per trainable parameter, by name."""


@dataclasses.dataclass(kw_only=True)
class Moment:
    """A step of a run.

    Attributes:
        task: with its network; its weights are those before the update for what looks at weights, else those after.
        data: of the run.
        step: steps taken before this one.
        micro_batches: of the step, this process's; empty after the last.
        raw: gradient before clipping, where a diagnostic needs it.
        clipped: gradient after clipping, likewise.
        before: weights before the update, likewise.
        report: gives what the optimizer reports of the step, see `suite.optim.RuleOptimizer.report`.
        due: whether the diagnostic must measure; otherwise it only follows the step.
        memory: plain values and tensors that the diagnostic keeps from moment to moment; they travel in checkpoints.
    """

    task: Task
    data: Data
    step: int
    micro_batches: list[Any] = dataclasses.field(default_factory=list)
    raw: Tensors = dataclasses.field(default_factory=dict)
    clipped: Tensors = dataclasses.field(default_factory=dict)
    before: Tensors = dataclasses.field(default_factory=dict)
    report: Callable[[], dict[str, dict[str, Tensor]]] = dict
    due: bool = True
    memory: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def network(self) -> nn.Module:
        """The task's network."""
        assert self.task.network is not None
        return self.task.network

    @property
    def weights(self) -> dict[str, Tensor]:
        """Trainable parameters by name, detached."""
        return {name: p.detach() for name, p in self.network.named_parameters() if p.requires_grad}

    @functools.cached_property
    def update(self) -> dict[str, Tensor]:
        """What the step added to each parameter."""
        return {name: after - self.before[name] for name, after in self.weights.items()}

    @property
    def roles(self) -> dict[str, str]:
        """Role of each trainable parameter; see `suite.optim.roles`."""
        return parameter_roles(self.network)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def over_processes(self, values: Tensor) -> Tensor:
        """Sum of the values of all processes that share the run (DDP), each of which has other micro-batches."""
        if distributed.is_available() and distributed.is_initialized():
            values = values.clone()
            distributed.all_reduce(values)
        return values
