"""The mean of a quantity over an evaluation, on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Mean(Metric):
    """The mean over all terms of all batches and devices.

    Unlike torchmetrics' own it looks at no value, for which the host would wait at every batch; where a term is NaN,
    so is the mean.
    """

    full_state_update = False
    total: Tensor
    terms: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("terms", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, total: Tensor, terms: int) -> None:
        """Add a batch: the sum of its terms, 0-d, and their number."""
        self.total += total
        self.terms += terms

    def compute(self) -> Tensor:
        """The mean, 0-d."""
        return self.total / self.terms
