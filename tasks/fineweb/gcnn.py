"""The gated convolutional network on FineWeb (paper 1, appendix A.8)."""

from __future__ import annotations

from typing import Any

from models.gcnn import GCNN, GCNNSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class FineWebGCNN(NextToken, GCNNSettings):
    """Paper 1's gated convolutional network on FineWeb, of 53.64M parameters."""

    def make_network(self, facts: dict[str, Any]) -> GCNN:
        """The network for the data's vocabulary and window."""
        return GCNN(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])
