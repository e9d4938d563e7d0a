"""Adam without bias correction at the speed of torch's fused kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from suite.optim.independent_adamw import IndependentAdamW

LARGEST_BETA = 0.99999
"""Up to here ``beta**STARTED`` is zero."""

STARTED = 2.0**24
"""Step count that the kernel starts at: its corrections ``1 - beta**step`` are then exactly one."""


class _Uncorrected(torch.optim.Optimizer):
    """Makes the states of one of torch's Adams before its first step.

    Groups may hold ``gradient_start``: the averages then start at the first gradient and its square.

    Attributes:
        counted_before: step count before the first step.
    """

    counted_before = STARTED

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step without bias correction."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and not self.state[param]:
                    self._start(param, group)
        super().step()
        return loss

    @torch.no_grad()
    def _start(self, param: Tensor, group: dict[str, Any]) -> None:
        grad = param.grad
        assert grad is not None
        if group.get("gradient_start"):
            if group["weight_decay"] and not group.get("decoupled_weight_decay"):
                grad = grad.add(param, alpha=group["weight_decay"])
            averages = grad.clone(), grad.square()
        else:
            averages = torch.zeros_like(param), torch.zeros_like(param)
        self.state[param] = {
            "step": torch.tensor(STARTED, dtype=torch.float32, device=param.device),
            "exp_avg": averages[0],
            "exp_avg_sq": averages[1],
        }


class UncorrectedAdam(_Uncorrected, torch.optim.Adam):
    """For no or coupled weight decay."""


class UncorrectedAdamW(_Uncorrected, torch.optim.AdamW):
    """For decoupled weight decay."""


class UncorrectedIndependentAdamW(_Uncorrected, IndependentAdamW):
    """For independent weight decay."""
