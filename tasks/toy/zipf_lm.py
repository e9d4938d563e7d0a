"""GPT on a generated Zipf language: vocabulary, tail and context at will (paper 1, section 4.1's hypotheses)."""

from __future__ import annotations

from tasks.kinds.sequences.gpt import SequenceGPT


class ToyZipfLM(SequenceGPT):
    """GPT on a generated language whose entropy rate is known."""
