"""GPT on FineWeb (paper 1, section 4 and appendices A.3 and B.4)."""

from __future__ import annotations

from tasks.kinds.sequences.gpt import SequenceGPT


class FineWebGPT(SequenceGPT):
    """GPT on FineWeb; the size is in the configuration: 49.2M (``fineweb/gpt``) or 247.1M (``fineweb/gpt_large``)."""
