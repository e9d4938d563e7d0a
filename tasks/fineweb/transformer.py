"""Papers 2 and 3's transformer on FineWeb (paper 2, figure 14 and the run of 1B parameters; paper 3, appendix)."""

from __future__ import annotations

from typing import Any

from models.transformer import Transformer, TransformerSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class FineWebTransformer(NextToken, TransformerSettings):
    """The transformer on FineWeb; its size is in the configuration, ``fineweb/transformer_160m`` to ``_1b``."""

    def make_network(self, facts: dict[str, Any]) -> Transformer:
        """The network for the data's vocabulary and window."""
        return Transformer(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])
