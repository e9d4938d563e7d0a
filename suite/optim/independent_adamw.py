"""Adam with independent weight decay at the speed of torch's fused kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class IndependentAdamW(torch.optim.AdamW):
    r"""Adam with independent decay, by AdamW's kernel.

    With :math:`c = \lambda \eta_t / \eta_{peak}` the step :math:`(\theta + \eta_t d)(1 - c)` is AdamW's step at the
    learning rate :math:`\eta_t (1 - c)` with the decay :math:`c / (\eta_t (1 - c))`. Groups hold ``peak_lr`` and,
    between steps, the learning rate and the decay that were asked for.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step, weight decay included."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        asked = [(group["lr"], group["weight_decay"]) for group in self.param_groups]
        try:
            for group in self.param_groups:
                lr, peak = float(group["lr"]), float(group["peak_lr"])
                lost = group["weight_decay"] * lr / peak if peak > 0 else 0.0
                group["lr"] = lr * (1 - lost)
                group["weight_decay"] = lost / group["lr"] if lost > 0 else 0.0
            super().step()
        finally:
            for group, (lr, weight_decay) in zip(self.param_groups, asked, strict=True):
                group["lr"], group["weight_decay"] = lr, weight_decay
        return loss
