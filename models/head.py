"""The last layer of a language model: logits, or the loss itself where the logits would be too many to hold.

Shape letters: B batch, T positions, C width, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from models.cross_entropy import drawn_targets, summed_cross_entropy

LossChunk = int | Literal["auto"] | None
"""Tokens whose logits are held at once; ``auto``: all while they are few, else a chunk; None: always all."""

LOGITS_AT_ONCE = 2**27
"""``auto``: largest number of logits held at once (half a GiB in single precision, several times that in training)."""

CHUNK_LOGITS = 2**26
"""``auto``: number of logits of a chunk, large enough that the products of matrices stay efficient."""


class Head(nn.Linear):
    """A linear layer without bias, onto the vocabulary.

    The loss is taken inside of `forward`, so the weight is used nowhere but in the layer that owns it: gradients are
    averaged by DistributedDataParallel as usual, and FSDP, in whatever units it wraps a network, has the whole weight
    at hand. What is kept for the backward pass is a gradient of the weight's size, not the weight.

    Args:
        width: C.
        vocab_size: V.
    """

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__(width, vocab_size, bias=False)

    def forward(self, x_BTC: Tensor, targets_BT: Tensor | None = None, loss_chunk: LossChunk = None) -> Tensor:
        """Project the features, and compare them with targets where that is asked for.

        Args:
            x_BTC: features.
            targets_BT: int64 token ids; or numbers in [0, 1), by each of which the target is drawn from the prediction;
                None: logits are returned.
            loss_chunk: see `LossChunk`.

        Returns:
            Logits ``[B, T, V]``; or, with targets and where ``loss_chunk`` says so, the cross-entropy in nats summed
            over all tokens, 0-d. Shapes alone decide which.
        """
        chunk = None if targets_BT is None else chunk_tokens(loss_chunk, x_BTC.shape[:-1].numel(), self.out_features)
        if targets_BT is None or chunk is None:
            return super().forward(x_BTC)
        x_NC, targets_N = x_BTC.flatten(0, -2), targets_BT.flatten()
        if targets_N.is_floating_point():
            targets_N = drawn_targets(x_NC, self.weight, targets_N, chunk_tokens=chunk)
        return summed_cross_entropy(x_NC, self.weight, targets_N, chunk_tokens=chunk)


def chunk_tokens(loss_chunk: LossChunk, tokens: int, vocab_size: int) -> int | None:
    """How many tokens' logits are held at once; None: all of them, as plain logits.

    Args:
        loss_chunk: the setting.
        tokens: B * T.
        vocab_size: V.
    """
    if loss_chunk != "auto":
        return loss_chunk
    return None if tokens * vocab_size <= LOGITS_AT_ONCE else max(1, CHUNK_LOGITS // vocab_size)
