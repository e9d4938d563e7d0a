"""Torch's fused kernels on the rows of a buffer, one row per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from suite.optim.factory import RuleGroup
from suite.packs.runs_step import RunsStep

SHORTEST = 16_384
"""Coordinates per run from which a kernel call per run is cheaper than passes over all runs at once, as
`benchmarks/rows.py` measures for 4 to 16 runs."""


class TorchRows:
    """Moves R runs by the torch optimizer that each would have alone, in one pass over memory on a CPU.

    Parameters, gradients and state are the caller's; of gradients nothing is kept.

    Args:
        groups: one rule group per run; they share its parameters.
        optimizer: of R parameter groups, one per run, each with one parameter.
    """

    def __init__(self, groups: Sequence[RuleGroup], optimizer: torch.optim.Optimizer) -> None:
        self._groups = tuple(groups)
        self._optimizer = optimizer
        self._peaks = [float(group["lr"]) for group in optimizer.param_groups]

    @classmethod
    def of(cls, groups: Sequence[RuleGroup], like: Tensor) -> TorchRows | None:
        """The runs' optimizers for a buffer like ``like``; None where they have no kernel of torch's on its device."""
        if like.device.type != "cpu":
            return None
        settings = []
        for group in groups:
            row = nn.Parameter(like.new_empty(0))
            asked = {"params": [row]} if group.decays else {"params": [row], "weight_decay": 0.0}
            single = group.config.torch_optimizer([asked])
            if single is None or not single.defaults.get("fused"):
                return None
            settings.append(single.param_groups[0])
        whole = groups[0].config.torch_optimizer(settings)
        assert whole is not None
        for param_group, of_run in zip(whole.param_groups, settings, strict=True):
            param_group.update(of_run)  # what the first run's config has set for all
        return cls(groups, whole)

    def keep(self, rows: Sequence[int], like: Tensor) -> TorchRows | None:
        """The same for some of the runs."""
        return TorchRows.of([self._groups[row] for row in rows], like)

    def move(self, step: RunsStep, columns: slice, state: Mapping[str, Tensor]) -> None:
        """Take a step after the first.

        Args:
            step: what is moved, and by what gradients.
            columns: of the parameters that this rule moves.
            state: the rule's state by name, ``[R, columns]`` each; written in place.
        """
        moved = [True] * len(step.flat) if step.alive is None else step.alive.flatten().tolist()
        for number, group in enumerate(self._optimizer.param_groups):
            (row,) = group["params"]
            group["lr"] = self._peaks[number] * float(step.multiplier)
            row.data = step.flat[number, columns]
            row.grad = step.grad[number, columns] if moved[number] else None
            of_run = {name: value[number] for name, value in state.items()}
            counted = torch.tensor(float(step.count - 1 + group.get("counted_before", 0)))
            self._optimizer.state[row] = {"step": counted, **of_run}
        self._optimizer.step()
        self._optimizer.zero_grad()
