"""Decoders as tasks on sequences: what `next_token` asks for, with the loss inside the network where V is large.

Shape letters: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from models.head import LossChunk
from tasks.kinds.next_token import NextToken


class SequenceDecoder(NextToken):
    """Next-token prediction by a `models.decoder.Decoder`.

    Args:
        loss_chunk: tokens whose logits are held at once: ``auto``, all of a micro-batch's while they are few (2^27
            logits), else a chunk of 2^26 logits; a number; null, always all. It decides the memory that training
            takes, and the loss but for the order of summation not.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.

    Raises:
        ValueError: a chunk of no token.
    """

    def __init__(self, *, loss_chunk: LossChunk = "auto", **recipe: Any) -> None:
        super().__init__(**recipe)
        if isinstance(loss_chunk, int) and loss_chunk < 1:
            raise ValueError(f"model.loss_chunk must be auto, null or at least 1 token, got {loss_chunk}.")
        self.loss_chunk = loss_chunk

    def inputs(self, batch: Tensor) -> tuple[Any, ...]:
        """All tokens but the last, ``[B, T]``, their targets, and how many of these the head may take at once."""
        return batch[:, :-1], batch[:, 1:], self.loss_chunk

    def loss(self, outputs: Tensor, batch: Tensor) -> tuple[Tensor, int]:
        """Cross-entropy in nats, summed over ``B * T`` tokens, and their number.

        Args:
            outputs: logits ``[B, T, V]``, or the sum itself, 0-d, where the head has taken it.
            batch: ``tokens_BT1``.
        """
        if outputs.ndim == 0:
            return outputs, batch[:, 1:].numel()
        return super().loss(outputs, batch)

    @contextmanager
    def twice_differentiable(self) -> Iterator[None]:
        """Take the loss of plain logits: that of chunks has first derivatives alone."""
        kept, self.loss_chunk = self.loss_chunk, None
        try:
            yield
        finally:
            self.loss_chunk = kept

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Most likely next token at every position, ``[B, T]``."""
        assert self.network is not None
        return self.network(batch[:, :-1]).argmax(dim=-1)
