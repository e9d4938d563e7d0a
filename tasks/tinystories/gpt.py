"""GPT on TinyStories (paper 1, section 4.4 and appendix A.11)."""

from __future__ import annotations

from tasks.kinds.sequences.gpt import SequenceGPT


class TinyStoriesGPT(SequenceGPT):
    """GPT on TinyStories."""
