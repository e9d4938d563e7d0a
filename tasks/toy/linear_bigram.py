"""The linear bigram model on a Zipf language (Kunstner & Bach 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from models.linear_bigram import LinearBigram
from suite.training import Mean, Task
from tasks.toy.data import BigramBatch


class RelativeError(Mean):
    """Excess of the mean loss over the least possible, as a share of that at zero weights.

    Args:
        trivial_loss: mean loss at zero weights.
        optimal_loss: least possible mean loss.
    """

    def __init__(self, *, trivial_loss: float, optimal_loss: float) -> None:
        super().__init__()
        self.trivial_loss = trivial_loss
        self.optimal_loss = optimal_loss

    def compute(self) -> Tensor:
        """The relative error, 0-d."""
        return (super().compute() - self.optimal_loss) / (self.trivial_loss - self.optimal_loss)


class ToyLinearBigram(Task):
    """Squared error of the next word's one-hot vector: ``|row of the first word - one-hot of the second|^2 / 2``."""

    def make_network(self, facts: dict[str, Any]) -> LinearBigram:
        """The table for a vocabulary."""
        return LinearBigram(vocab_size=facts["vocab_size"])

    def inputs(self, batch: BigramBatch) -> tuple[Tensor, ...]:
        """The first words."""
        return (batch.words,)

    def loss(self, outputs: Tensor, batch: BigramBatch) -> tuple[Tensor, int]:
        """Squared errors, weighted and summed, and what the sum is divided by."""
        if batch.targets.is_floating_point():
            correct = (outputs * batch.targets).sum(dim=-1)
        else:
            correct = outputs.gather(-1, batch.targets[:, None]).squeeze(-1)
        errors = 0.5 * (outputs.square().sum(dim=-1) - 2 * correct + 1)
        return (batch.weights * errors).sum(), batch.count

    def metrics(self, facts: dict[str, Any]) -> dict[str, Metric]:
        """The relative error, which is the relative loss of `suite.theory.bigram`."""
        return {"relative_error": RelativeError(trivial_loss=facts["trivial_loss"], optimal_loss=facts["optimal_loss"])}

    def measure(
        self, metrics: Mapping[str, Metric], outputs: Tensor, batch: BigramBatch, total: Tensor, count: int
    ) -> None:
        """Update the relative error with one batch."""
        metrics["relative_error"].update(total, count)
