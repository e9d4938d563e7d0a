"""Papers 2 and 3's transformer on SlimPajama (paper 2, figures 1, 2, 12, 13, 15; paper 3, table 1)."""

from __future__ import annotations

from typing import Any

from models.transformer import Transformer, TransformerSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class SlimPajamaTransformer(NextToken, TransformerSettings):
    """The transformer on SlimPajama; its size is in the configuration, ``slimpajama/transformer_160m`` to ``_1b``."""

    def make_network(self, facts: dict[str, Any]) -> Transformer:
        """The network for the data's vocabulary and window."""
        return Transformer(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])
