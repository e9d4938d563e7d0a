"""GPT on FineWeb (paper 1, section 4 and appendix A.3)."""

from __future__ import annotations

from typing import Any

from models.gpt import GPT
from tasks.next_token import NextToken


class FineWebGPT(NextToken):
    """GPT on FineWeb.

    Args:
        num_layers: blocks of the network.
        num_heads: attention heads per block.
        width: features per position.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    def __init__(self, *, num_layers: int = 6, num_heads: int = 6, width: int = 384, **recipe: Any) -> None:
        super().__init__(**recipe)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.width = width

    def make_network(self, facts: dict[str, Any]) -> GPT:
        """The network for a vocabulary and sequence length."""
        return GPT(
            vocab_size=facts["vocab_size"],
            max_len=facts["seq_len"],
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            width=self.width,
        )
