"""GPT on the human genome (paper 1, figure 1 and appendices A.6, B.5)."""

from __future__ import annotations

from tasks.kinds.sequences.gpt import SequenceGPT


class HG38GPT(SequenceGPT):
    """GPT on the human genome, characters or k-mers."""
