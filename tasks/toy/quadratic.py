"""The noisy quadratic (paper 2, appendix I and figure 17)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.quadratic import Quadratic
from suite.theory.hessians import design_rows
from suite.training import Task


class ToyQuadratic(Task):
    """Minimise a quadratic of nine dimensions from ``w = 1``; batches are those of `tasks.toy.data.NoisyQuadratic`."""

    def make_network(self, facts: dict[str, Any]) -> Quadratic:
        """The quadratic of a Hessian."""
        return Quadratic(torch.from_numpy(design_rows(np.array(facts["hessian"]))).float())

    def inputs(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Noise or row numbers."""
        return (batch,)

    def loss(self, outputs: Tensor, batch: Tensor) -> tuple[Tensor, int]:
        """Losses of the samples, summed, and their number."""
        return outputs.sum(), len(batch)
