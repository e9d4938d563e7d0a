"""GPT on FineWeb (paper 1, section 4 and appendices A.3 and B.4)."""

from __future__ import annotations

from typing import Any

from models.gpt import GPT, GPTSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class FineWebGPT(NextToken, GPTSettings):
    """Paper 1's GPT on FineWeb, of 49.2M (``fineweb/gpt``) or 247.1M parameters (``fineweb/gpt_large``)."""

    def make_network(self, facts: dict[str, Any]) -> GPT:
        """The network for the data's vocabulary and window."""
        return GPT(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])
