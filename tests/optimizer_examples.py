"""One example per optimizer of the catalogue, and a network to move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from suite.optim import CompositeOptimizer, OptimizerConfig, RuleOptimizer, list_optimizers
from suite.optim.config import SAMPLED_GRADIENT
from suite.optim.external import External

EXAMPLES: dict[str, dict[str, Any]] = {
    "adafactor_beta2": {"lr": 0.1, "beta2": 0.9, "smallest_factored": 2},
    "adamw": {"lr": 0.01, "weight_decay": 0.1},
    "grafted": {
        "lr": 0.1,
        "magnitude": {"name": "sgd", "momentum": 0.9},
        "direction": {"name": "adam", "beta": 0.9},
    },
    "hybrid": {
        "adam": {"on": ["norm", "head"], "lr": 0.01, "beta": 0.95},
        "embed": {"name": "signum", "lr": 0.01},
        "sgd": {"lr": 0.1, "momentum": 0.5},
    },
    "muon": {"lr": 0.02, "adam": {"lr": 0.01}},
    "nsgd": {"lr": 0.1, "momentum": 0.5},
    "prodigy": {"lr": 1.0, "d0": 0.01},
    "schedule_free_sgd": {"lr": 0.1},
    "scion": {"lr": 1e-4, "full_precision": True},
    "sgd": {"lr": 0.1, "momentum": 0.5},
    "sgd_coordinate_clip": {"lr": 0.1, "momentum": 0.5, "max_coordinate": 0.5},
    "sgd_quantile_clip": {"lr": 0.1, "momentum": 0.5, "share": 0.1},
}
"""Settings other than ``lr: 0.01``, for small quadratics."""


def names() -> list[str]:
    """Every name of the catalogue, but for what tests register."""
    return [name for name in list_optimizers() if not name.startswith("test_")]


def broadcasts(config: OptimizerConfig) -> bool:
    """Whether the config has a rule that can move several runs at once."""
    return not isinstance(config, External)


def sampled(config: OptimizerConfig, state: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
    """A rule's state for a step, with the gradient on drawn labels where the step needs one: any numbers."""
    if not config.needs_sampled_gradient(step):
        return state
    like = next(iter(state.values()))
    return {**state, SAMPLED_GRADIENT: torch.sin(torch.arange(like.numel()) + step).reshape(like.shape).to(like.dtype)}


def give_sampled_gradient(optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> None:
    """Give an optimizer whose next step needs it a second gradient: that of ``loss``."""
    if isinstance(optimizer, RuleOptimizer | CompositeOptimizer) and optimizer.needs_sampled_gradient():
        loss().backward()
        optimizer.keep_sampled_gradient(terms=2)


def small_network() -> nn.Module:
    """Every role: embedding, norm, hidden, bias, head; the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Embedding(7, 6),
            nn.LayerNorm(6),
            nn.Linear(6, 10),
            nn.Conv1d(10, 4, 2),
            nn.Linear(4, 5, bias=False),
        )
