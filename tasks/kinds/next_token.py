"""Next-token prediction: the loss and the metrics of every task on token sequences.

Shape letters: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric

from suite.training import Task


class Perplexity(MeanMetric):
    """Exponential of the mean loss per token."""

    def compute(self) -> Tensor:
        """The perplexity, 0-d."""
        return torch.exp(super().compute())


class NextToken(Task):
    """Cross-entropy of the next token. A batch is ``tokens_BT1``, int64 ``[B, T + 1]``: inputs and shifted targets."""

    def inputs(self, batch: Tensor) -> tuple[Tensor, ...]:
        """All tokens but the last, ``[B, T]``."""
        return (batch[:, :-1],)

    def loss(self, outputs: Tensor, batch: Tensor) -> tuple[Tensor, int]:
        """Cross-entropy in nats, summed over ``B * T`` tokens, and their number."""
        targets = batch[:, 1:]
        total = F.cross_entropy(outputs.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        return total, targets.numel()

    def element_losses(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats of every token, and the tokens, ``[B, T]``."""
        assert self.network is not None
        targets = self.element_classes(batch)
        logits = self.network(batch[:, :-1])
        return F.cross_entropy(logits.movedim(-1, 1).float(), targets, reduction="none"), targets

    def element_classes(self, batch: Tensor) -> Tensor:
        """The tokens to be predicted, ``[B, T]``."""
        return batch[:, 1:]

    def metrics(self, facts: dict[str, Any]) -> dict[str, Metric]:
        """Perplexity, beside the loss that every task has."""
        return {"perplexity": Perplexity()}

    def measure(self, metrics: Any, outputs: Tensor, batch: Tensor, total: Tensor, count: int) -> None:
        """Update the perplexity with one batch."""
        metrics["perplexity"].update(total / count, weight=count)

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Most likely next token at every position, ``[B, T]``."""
        return self(batch).argmax(dim=-1)
