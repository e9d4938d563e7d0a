"""Papers 2 and 3's transformer on SlimPajama (paper 2, figures 1, 2, 12, 13, 15; paper 3, table 1)."""

from __future__ import annotations

from tasks.kinds.sequences.transformer import SequenceTransformer


class SlimPajamaTransformer(SequenceTransformer):
    """The transformer on SlimPajama; its size is in the configuration, ``slimpajama/transformer_160m`` to ``_1b``."""
