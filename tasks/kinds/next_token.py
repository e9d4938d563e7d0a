"""Next-token prediction: the loss and the metrics of every task on token sequences.

Shape letters: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from models.head import LossChunk
from suite.training import Mean, Task, configurable


class Perplexity(Mean):
    """Exponential of the mean loss per token."""

    def compute(self) -> Tensor:
        """The perplexity, 0-d."""
        return torch.exp(super().compute())


@configurable
class NextToken(Task):
    """Cross-entropy of the next token. A batch is ``tokens_BT1``, int64 ``[B, T + 1]``: inputs and shifted targets.

    The network takes what `models.decoder.Decoder` takes: tokens gives logits; tokens, targets and ``loss_chunk`` may
    give the summed loss itself, where the logits would be too many to hold.
    """

    loss_chunk: LossChunk = dataclasses.field(
        default="auto",
        metadata={"at_least": 1, "beside": "positions at a time whose logits are held; the loss is the same sum"},
    )
    """Tokens whose logits are held at once: ``auto``, all of a micro-batch's while they are few (2^27 logits), else a
    chunk of 2^26 logits; a number; null, always all. It decides the memory that training takes; the loss is the same
    up to the order of summation."""

    def inputs(self, batch: Tensor) -> tuple[Any, ...]:
        """All tokens but the last, ``[B, T]``, their targets, and how many of these the head may take at once."""
        return batch[:, :-1], batch[:, 1:], self.loss_chunk

    def loss(self, outputs: Tensor, batch: Tensor) -> tuple[Tensor, int]:
        """Cross-entropy in nats, summed over ``B * T`` tokens, and their number.

        Args:
            outputs: logits ``[B, T, V]``, or the sum itself, 0-d, where the head has taken it.
            batch: ``tokens_BT1``.
        """
        targets = batch[:, 1:]
        if outputs.ndim == 0:
            return outputs, targets.numel()
        total = F.cross_entropy(outputs.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        return total, targets.numel()

    def sampled_inputs(self, batch: Tensor, uniforms: Tensor) -> tuple[Any, ...]:
        """As `inputs`, with the numbers that targets are drawn by in place of targets, ``[B, T]``."""
        return batch[:, :-1], uniforms, self.loss_chunk

    def sampled_loss(self, outputs: Tensor, batch: Tensor, uniforms: Tensor) -> tuple[Tensor, int]:
        """See `Task.sampled_loss`; ``outputs`` may be the sum itself, 0-d, as in `loss`."""
        if outputs.ndim == 0:
            return outputs, uniforms.numel()
        return super().sampled_loss(outputs, batch, uniforms)

    @contextmanager
    def twice_differentiable(self) -> Iterator[None]:
        """Take the loss of plain logits: that of chunks has first derivatives alone."""
        kept, self.loss_chunk = self.loss_chunk, None
        try:
            yield
        finally:
            self.loss_chunk = kept

    def logits(self, batch: Tensor) -> Tensor:
        """Logits of the next token at every position, ``[B, T, V]``."""
        assert self.network is not None
        return self.network(batch[:, :-1])

    def element_losses(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats of every token, and the tokens, ``[B, T]``."""
        targets = self.element_classes(batch)
        return F.cross_entropy(self.logits(batch).movedim(-1, 1).float(), targets, reduction="none"), targets

    def element_classes(self, batch: Tensor) -> Tensor:
        """The tokens to be predicted, ``[B, T]``."""
        return batch[:, 1:]

    def metrics(self, facts: dict[str, Any]) -> dict[str, Metric]:
        """Perplexity, beside the loss that every task has."""
        return {"perplexity": Perplexity()}

    def measure(self, metrics: Any, outputs: Tensor, batch: Tensor, total: Tensor, count: int) -> None:
        """Update the perplexity with one batch."""
        metrics["perplexity"].update(total, count)

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Most likely next token at every position, ``[B, T]``."""
        return self.logits(batch).argmax(dim=-1)
