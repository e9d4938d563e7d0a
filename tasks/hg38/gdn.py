"""Gated DeltaNet on the human genome (paper 1, figure 1 and appendix A.6)."""

from __future__ import annotations

from tasks.kinds.sequences.gdn import SequenceGDN


class HG38GDN(SequenceGDN):
    """Gated DeltaNet on the human genome, characters or k-mers."""
