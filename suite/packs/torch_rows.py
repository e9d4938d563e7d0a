"""Torch's fused optimizers on the rows of a buffer, one row per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from suite.optim.factory import RuleGroup
from suite.packs.runs_step import RunsStep

SHORTEST = 16_384
"""Number of coordinates per run from which one kernel call per run is faster than the suite's rule over all runs;
`benchmarks/rows.py` measured it for 4 to 16 runs."""


class TorchRows:
    """Updates R runs on a CPU by the torch optimizer that each run would have alone, in one pass over memory.

    The caller passes parameters, gradients and state to every step.

    Args:
        groups: one rule group per run, all with the same parameter names.
        optimizer: an optimizer with R parameter groups, one per run, of one parameter each.
    """

    def __init__(self, groups: Sequence[RuleGroup], optimizer: torch.optim.Optimizer) -> None:
        self._groups = tuple(groups)
        self._optimizer = optimizer
        self._peaks = [float(group["lr"]) for group in optimizer.param_groups]

    @classmethod
    def of(cls, groups: Sequence[RuleGroup], like: Tensor) -> TorchRows | None:
        """The optimizers for a buffer ``like``; None if it is not on a CPU, or if torch has no fused kernel."""
        if like.device.type != "cpu":
            return None
        settings = []
        for group in groups:
            row = nn.Parameter(like.new_empty(0))
            param_group = {"params": [row]} if group.decays else {"params": [row], "weight_decay": 0.0}
            single = group.config.torch_optimizer([param_group])
            if single is None or not single.defaults.get("fused"):
                return None
            settings.append(single.param_groups[0])
        whole = groups[0].config.torch_optimizer(settings)
        assert whole is not None
        for param_group, of_run in zip(whole.param_groups, settings, strict=True):
            param_group.update(of_run)  # the constructor gave every group the defaults of the first run's config
        return cls(groups, whole)

    def keep(self, rows: Sequence[int], like: Tensor) -> TorchRows | None:
        """The optimizers of some of the runs, given by their rows."""
        return TorchRows.of([self._groups[row] for row in rows], like)

    def move(self, step: RunsStep, columns: slice, state: Mapping[str, Tensor]) -> None:
        """Take a step after the first.

        Args:
            step: the parameters, gradients and living runs.
            columns: columns of the parameters that this rule updates.
            state: the rule's state by name, ``[R, columns]`` each; written in place.
        """
        moved = [True] * len(step.flat) if step.alive is None else step.alive.flatten().tolist()
        for number, group in enumerate(self._optimizer.param_groups):
            (row,) = group["params"]
            group["lr"] = float(step.rate.of(self._peaks[number]))
            row.data = step.flat[number, columns]
            row.grad = step.grad[number, columns] if moved[number] else None
            of_run = {name: value[number] for name, value in state.items()}
            counted = torch.tensor(float(step.count - 1 + group.get("counted_before", 0)))
            self._optimizer.state[row] = {"step": counted, **of_run}
        self._optimizer.step()
        self._optimizer.zero_grad()
