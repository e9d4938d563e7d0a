"""GPT on the human genome (paper 1, figure 1 and appendices A.6, B.5)."""

from __future__ import annotations

from typing import Any

from models.gpt import GPT, GPTSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class HG38GPT(NextToken, GPTSettings):
    """Paper 1's GPT on the human genome."""

    def make_network(self, facts: dict[str, Any]) -> GPT:
        """The network for the data's vocabulary and window."""
        return GPT(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])
