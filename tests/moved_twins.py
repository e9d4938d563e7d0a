"""How far apart may two trainings of one run be? As far as rounding drives twins that it has moved.

Losses agree to a relative `TOLERANCE`, or as far as rounding alone decides. That is measured: single runs whose initial
weights are moved by one unit in the last place, and gradients by what another order of summation would move them, drift
apart from the unmoved run, and a pack may drift as far.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from suite.training import Task

TOLERANCE = 1e-4
"""Relative, of the loss of each step."""

LEAST = 1e-2
"""Smaller losses are compared as if they were that large: 1e-6 is what rounding leaves of logits about 10, and long
runs of one letter in a genome are learned to a loss of zero."""

MOVED = 4
"""Twins whose weights and gradients are moved."""

ROUNDING = 1e-5
"""Root mean square of what a gradient tensor is moved by, relative to its own: float32 gradients, of a single run as of
a pack, are up to 1.5e-5 off those in float64 (ResNet-20's first layer)."""

ROUNDING_OF_ROOTS = 1e-4
"""The same for GRIT, whose signed square roots have no bounded slope at zero."""

SHARE = 3.0
"""Times that a pack may be farther off than the farthest of so few moved twins."""

EARLY, LATE = 5, 10
"""Steps over which GRIT is compared: its roots make jumps of what was rounding, one twin in some has its losses off by
a hundredfold from one step to the next. So its first steps count, and the farthest of its last."""


def apart(losses: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Relative differences, per step."""
    return np.abs(losses - alone) / np.maximum(alone, LEAST)


def move(task: Task, seed: int) -> None:
    """Move the initial weights of a built task and each of its gradients as rounding could have."""
    generator = torch.Generator().manual_seed(seed)
    size = ROUNDING_OF_ROOTS if "grit" in task.pair_name else ROUNDING

    def moved(grad: Tensor) -> Tensor:
        return grad + size * grad.square().mean().sqrt() * torch.randn(grad.shape, generator=generator)

    assert task.network is not None
    for weight in task.network.parameters():
        up = torch.rand(weight.shape, generator=generator) < 0.5
        weight.data = torch.nextafter(weight.data, torch.where(up, torch.inf, -torch.inf))
        if weight.requires_grad:
            weight.register_hook(moved)


def require_near(off: np.ndarray, spread: np.ndarray, *, chaotic: bool, tolerance: float = TOLERANCE) -> None:
    """Hold a training's distance from its twin, per step, against that of the farthest moved twin."""
    worst = f"{off.max():.1e} off at step {off.argmax()}, moved twins {spread.max():.1e}"
    # Both grow from step to step; which of them is ahead at one step is chance.
    fine = off <= np.maximum(np.maximum.accumulate(SHARE * spread), tolerance)
    if chaotic:
        assert fine[:EARLY].all() and off[-LATE:].max() <= SHARE * spread[-LATE:].max(), worst
    else:
        assert fine.all(), worst
