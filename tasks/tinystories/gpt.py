"""GPT on TinyStories (paper 1, section 4.4 and appendix A.11)."""

from __future__ import annotations

from typing import Any

from models.gpt import GPT, GPTSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class TinyStoriesGPT(NextToken, GPTSettings):
    """Paper 1's GPT on TinyStories."""

    def make_network(self, facts: dict[str, Any]) -> GPT:
        """The network for the data's vocabulary and window."""
        return GPT(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])
