"""Papers 2 and 3's transformer on FineWeb (paper 2, figure 14 and the run of 1B parameters; paper 3, appendix)."""

from __future__ import annotations

from tasks.kinds.sequences.transformer import SequenceTransformer


class FineWebTransformer(SequenceTransformer):
    """The transformer on FineWeb; its size is in the configuration, ``fineweb/transformer_160m`` to ``_1b``."""
