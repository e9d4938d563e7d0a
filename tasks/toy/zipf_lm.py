"""GPT on a generated Zipf language: vocabulary, tail and context at will (paper 1, section 4.1's hypotheses)."""

from __future__ import annotations

from typing import Any

from models.gpt import GPT, GPTSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class ToyZipfLM(NextToken, GPTSettings):
    """Paper 1's GPT, made small, on a generated language whose entropy rate is known."""

    def make_network(self, facts: dict[str, Any]) -> GPT:
        """The network for the data's vocabulary and window."""
        return GPT(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])
