"""The gated convolutional network on TinyStories (paper 1, section 4.4 and appendix A.11)."""

from __future__ import annotations

from typing import Any

from models.gcnn import GCNN, GCNNSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class TinyStoriesGCNN(NextToken, GCNNSettings):
    """Paper 1's gated convolutional network on TinyStories."""

    def make_network(self, facts: dict[str, Any]) -> GCNN:
        """The network for the data's vocabulary and window."""
        return GCNN(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])
