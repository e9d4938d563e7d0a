"""Papers 2 and 3's transformer as a task on sequences."""

from __future__ import annotations

from typing import Any

from models.attention import Backend
from models.transformer import Transformer
from tasks.kinds.sequences.decoder import SequenceDecoder


class SequenceTransformer(SequenceDecoder):
    """Next-token prediction by papers 2 and 3's transformer.

    Args:
        num_layers: blocks of the network.
        num_heads: attention heads per block.
        width: features per position.
        rotary_share: share of a head's features that carries positions.
        rotary_theta: base of the rotary frequencies.
        vocab_multiple: embedding and head are padded to a multiple of so many ids.
        attention: what computes the attention: ``sdpa`` (torch), ``flash_attn`` (the library) or ``math`` (plain).
        **recipe: chunks of the loss, see `SequenceDecoder`; optimizer, schedule and clipping,
            see `suite.training.Task`.
    """

    def __init__(
        self,
        *,
        num_layers: int = 12,
        num_heads: int = 12,
        width: int = 768,
        rotary_share: float = 1.0,
        rotary_theta: float = 500_000.0,
        vocab_multiple: int = 8,
        attention: Backend = "sdpa",
        **recipe: Any,
    ) -> None:
        super().__init__(**recipe)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.width = width
        self.rotary_share = rotary_share
        self.rotary_theta = rotary_theta
        self.vocab_multiple = vocab_multiple
        self.attention: Backend = attention

    def make_network(self, facts: dict[str, Any]) -> Transformer:
        """The network for a vocabulary and sequence length."""
        return Transformer(
            vocab_size=facts["vocab_size"],
            max_len=facts["seq_len"],
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            width=self.width,
            rotary_share=self.rotary_share,
            rotary_theta=self.rotary_theta,
            vocab_multiple=self.vocab_multiple,
            attention=self.attention,
        )
