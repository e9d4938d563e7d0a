"""TinyStories: short synthetic stories in simple English, for long training on little text (paper 1, section 4.4)."""

from __future__ import annotations

from suite.training import configurable
from tasks.kinds.sequences.windows import TokenWindows
from tasks.kinds.text.data import TextTokens
from tasks.kinds.text.hub import HubText


@configurable
class TinyStories(TextTokens, TokenWindows):
    """The first 10 million GPT-2 tokens of TinyStories, in windows of 256 (paper 1, appendix A.11).

    ``source: paper`` streams ``roneneldan/TinyStories`` in stored order and encodes it as FineWeb is encoded: 9,900,000
    tokens for training (38,671 samples), the 100,000 after them for validation.

    ``source: sample`` is `tasks.kinds.text.sample`, embedded English: a stand-in for the pipeline, not stories.
    """

    dataset = "tinystories"
    paper_source = HubText("roneneldan/TinyStories", None, size_bytes=2_000_000_000)
    paper_max_tokens = 10_000_000
