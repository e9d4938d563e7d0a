"""Adam by torch's fused kernel, also with independent weight decay or without bias correction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from suite.optim.config import OptimizerConfig

LARGEST_BETA = 0.99999
"""The largest beta for which ``beta**STARTED`` rounds to zero."""

STARTED = 2.0**24
"""The kernel's first step count without bias correction, at which its corrections ``1 - beta**step`` are one."""


class FusedAdam(torch.optim.Adam):
    r"""Torch's Adam with independent weight decay, without bias correction, or both.

    With :math:`c = \lambda \eta_t / \eta_{peak}` the independent step :math:`(\theta + \eta_t d)(1 - c)` is AdamW's
    step at the learning rate :math:`\eta_t (1 - c)` with the decay :math:`c / (\eta_t (1 - c))`. Between steps the
    groups hold the learning rate and the decay of the config.

    A group has three optional keys: ``peak_lr``, for independent decay; ``counted_before``, the step count before its
    first step; and ``gradient_start``, whether the averages start at the first gradient and its square.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step, weight decay included."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        configured = [(group["lr"], group["weight_decay"]) for group in self.param_groups]
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
            for group, (lr, weight_decay) in zip(self.param_groups, configured, strict=True):
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
                "step": torch.full((), group["counted_before"], dtype=torch.float32, device=param.device),
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
    """Make a fused Adam with the learning rate and the weight-decay policy of a config.

    Args:
        config: the rule.
        groups: parameter groups of a torch optimizer.
        betas: decays of the two averages.
        eps: constant added to the root of the second moment.
        bias_correction: correct the bias of averages that start at zero.
        gradient_start: start the averages at the first gradient and its square; only without bias correction.

    Returns:
        The optimizer; None if there is no bias correction and a beta is above ``LARGEST_BETA``.
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
