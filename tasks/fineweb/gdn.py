"""Gated DeltaNet on FineWeb: paper 1 trains it on the genome alone; here it separates data from network."""

from __future__ import annotations

from typing import Any

from models.gated_delta import GDN, GDNSettings
from suite.training import configurable
from tasks.kinds.next_token import NextToken


@configurable
class FineWebGDN(NextToken, GDNSettings):
    """Paper 1's Gated DeltaNet on FineWeb."""

    def make_network(self, facts: dict[str, Any]) -> GDN:
        """The network for the data's vocabulary; it has no positions."""
        return GDN(self, vocab_size=facts["vocab_size"])
