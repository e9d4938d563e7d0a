"""Gated DeltaNet as a task on sequences."""

from __future__ import annotations

from typing import Any

from models.gated_delta import GDN
from tasks.kinds.sequences.decoder import SequenceDecoder


class SequenceGDN(SequenceDecoder):
    """Next-token prediction by paper 1's Gated DeltaNet.

    Args:
        num_layers: blocks of the network.
        num_heads: heads of the recurrence per block.
        width: features per position.
        **recipe: chunks of the loss, see `SequenceDecoder`; optimizer, schedule and clipping,
            see `suite.training.Task`.
    """

    def __init__(self, *, num_layers: int = 6, num_heads: int = 6, width: int = 384, **recipe: Any) -> None:
        super().__init__(**recipe)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.width = width

    def make_network(self, facts: dict[str, Any]) -> GDN:
        """The network for a vocabulary; it has no positions, so the length does not matter."""
        return GDN(
            vocab_size=facts["vocab_size"], num_layers=self.num_layers, num_heads=self.num_heads, width=self.width
        )
