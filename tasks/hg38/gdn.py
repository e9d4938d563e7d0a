"""Gated DeltaNet on the human genome (paper 1, figure 1 and appendix A.6)."""

from __future__ import annotations

from typing import Any

from models.gated_delta import GDN, GDNSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class HG38GDN(NextToken, GDNSettings):
    """Paper 1's Gated DeltaNet on the human genome."""

    def make_network(self, facts: dict[str, Any]) -> GDN:
        """The network for the data's vocabulary; it has no positions."""
        return GDN(self, vocab_size=facts["vocab_size"])
