"""GPT as a task on sequences; each dataset's pair is a subclass that says which figure it belongs to."""

from __future__ import annotations

from typing import Any

from models.attention import Backend
from models.gpt import GPT
from tasks.kinds.sequences.decoder import SequenceDecoder


class SequenceGPT(SequenceDecoder):
    """Next-token prediction by paper 1's GPT.

    Args:
        num_layers: blocks of the network.
        num_heads: attention heads per block.
        width: features per position.
        attention: what computes the attention: ``sdpa`` (torch), ``flash_attn`` (the library) or ``math`` (plain).
        **recipe: chunks of the loss, see `SequenceDecoder`; optimizer, schedule and clipping,
            see `suite.training.Task`.
    """

    def __init__(
        self,
        *,
        num_layers: int = 6,
        num_heads: int = 6,
        width: int = 384,
        attention: Backend = "sdpa",
        **recipe: Any,
    ) -> None:
        super().__init__(**recipe)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.width = width
        self.attention: Backend = attention

    def make_network(self, facts: dict[str, Any]) -> GPT:
        """The network for a vocabulary and sequence length."""
        return GPT(
            vocab_size=facts["vocab_size"],
            max_len=facts["seq_len"],
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            width=self.width,
            attention=self.attention,
        )
