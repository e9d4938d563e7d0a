"""Gated DeltaNet on FineWeb: paper 1 trains it on the genome only; here to tell the data from the network."""

from __future__ import annotations

from tasks.kinds.sequences.gdn import SequenceGDN


class FineWebGDN(SequenceGDN):
    """Gated DeltaNet on FineWeb."""
