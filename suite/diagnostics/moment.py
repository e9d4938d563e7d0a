"""The input of a diagnostic: a step of a run, or the weights between two steps."""

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
    """A step of a run, with the parts that diagnostics need.

    Attributes:
        task: the task. For diagnostics of weights its network has the weights before the update, otherwise after it.
        data: the run's data.
        step: number of steps before this one.
        micro_batches: this process's micro-batches of the step; empty after the last step.
        raw: the gradient before clipping, if a diagnostic needs it.
        clipped: the gradient after clipping, if a diagnostic needs it.
        before: the weights before the update, if a diagnostic needs them.
        report: returns the optimizer's measurements of the step, see `suite.optim.RuleOptimizer.report`.
        due: whether to measure; otherwise a later measurement needs this step.
        memory: plain values and tensors that the diagnostic keeps between moments; checkpoints save them.
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
        """The step's change of each parameter."""
        return {name: after - self.before[name] for name, after in self.weights.items()}

    @property
    def roles(self) -> dict[str, str]:
        """Role of each trainable parameter; see `suite.optim.roles`."""
        return parameter_roles(self.network)

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return next(self.network.parameters()).device

    def over_processes(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over all processes of the run (DDP), each of which has its own micro-batches."""
        if distributed.is_available() and distributed.is_initialized():
            values = values.clone()
            distributed.all_reduce(values)
        return values
