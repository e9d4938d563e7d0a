"""Adam at the speed of torch's fused kernel, also with independent weight decay and without bias correction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from suite.optim.config import OptimizerConfig

LARGEST_BETA = 0.99999
"""Up to here ``beta**STARTED`` is zero."""

STARTED = 2.0**24
"""Step count that the kernel starts at without bias correction: its corrections ``1 - beta**step`` are then one."""


class FusedAdam(torch.optim.Adam):
    r"""Torch's Adam with independent weight decay, without bias correction, or both.

    With :math:`c = \lambda \eta_t / \eta_{peak}` the independent step :math:`(\theta + \eta_t d)(1 - c)` is AdamW's
    step at the learning rate :math:`\eta_t (1 - c)` with the decay :math:`c / (\eta_t (1 - c))`. Between steps groups
    hold the learning rate and the decay that were asked for.

    A group may hold ``peak_lr``, for independent decay; ``counted_before``, the step count before its first step;
    ``gradient_start``: whether the averages start at the first gradient and its square.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step, weight decay included."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        asked = [(group["lr"], group["weight_decay"]) for group in self.param_groups]
        try:
            for group in self.param_groups:
                if "counted_before" in group:
                    self._start(group)
                if "peak_lr" in group:
                    lr, peak = float(group["lr"]), float(group["peak_lr"])
                    lost = group["weight_decay"] * lr / peak if peak > 0 else 0.0
                    group["lr"] = lr * (1 - lost)
                    group["weight_decay"] = lost / group["lr"] if lost > 0 else 0.0
            super().step()
        finally:
            for group, (lr, weight_decay) in zip(self.param_groups, asked, strict=True):
                group["lr"], group["weight_decay"] = lr, weight_decay
        return loss

    @torch.no_grad()
    def _start(self, group: dict[str, Any]) -> None:
        """Make the state of parameters before their first step."""
        for param in group["params"]:
            grad: Tensor | None = param.grad
            if grad is None or self.state[param]:
                continue
            if group["gradient_start"] and group["weight_decay"] and not group["decoupled_weight_decay"]:
                grad = grad.add(param, alpha=group["weight_decay"])
            from_zero = not group["gradient_start"]
            self.state[param] = {
                "step": torch.tensor(group["counted_before"], dtype=torch.float32, device=param.device),
                "exp_avg": torch.zeros_like(param) if from_zero else grad.clone(),
                "exp_avg_sq": torch.zeros_like(param) if from_zero else grad.square(),
            }


def fused_adam(
    config: OptimizerConfig,
    groups: list[dict[str, Any]],
    betas: tuple[float, float],
    eps: float,
    *,
    bias_correction: bool = True,
    gradient_start: bool = False,
) -> torch.optim.Optimizer | None:
    """The fused Adam with a config's learning rate and weight decay policy.

    Args:
        config: the rule.
        groups: parameter groups of a torch optimizer.
        betas: decays of the two averages.
        eps: added to the root of the second moment.
        bias_correction: make up for averages that start at zero.
        gradient_start: start the averages at the first gradient and its square; without bias correction alone.

    Returns:
        The optimizer; None where a beta is too near 1 for the kernel to do without bias correction.
    """
    settings: dict[str, Any] = {"lr": config.lr, "betas": betas, "eps": eps, "fused": True}
    settings["weight_decay"] = config.weight_decay
    extra: dict[str, Any] = {"peak_lr": config.lr} if config.decay == "independent" else {}
    if not bias_correction:
        if max(betas) > LARGEST_BETA:
            return None
        extra |= {"counted_before": STARTED, "gradient_start": gradient_start}
    if extra:
        decoupled = config.decay in ("decoupled", "independent")
        return FusedAdam([{**group, **extra} for group in groups], decoupled_weight_decay=decoupled, **settings)
    return (torch.optim.AdamW if config.decay == "decoupled" else torch.optim.Adam)(groups, **settings)
