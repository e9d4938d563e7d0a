"""FineWeb-Edu: web text, the language data of paper 1."""

from __future__ import annotations

from suite.training import configurable
from tasks.kinds.sequences.windows import TokenWindows
from tasks.kinds.text.data import TextTokens
from tasks.kinds.text.hub import HubText


@configurable
class FineWeb(TextTokens, TokenWindows):
    """The first billion GPT-2 tokens of FineWeb-Edu, in windows of 256 (paper 1, Appendix A).

    ``source: paper`` streams ``HuggingFaceFW/fineweb-edu``, configuration ``sample-10BT``, in stored order.
    Documents are encoded one by one with GPT-2's ordinary encoding and joined without a separator. The first 1e9 tokens
    are used: 990,000,000 for training (3,867,187 samples), the 10,000,000 after them for validation.

    ``source: sample`` is the embedded English text of `tasks.kinds.text.sample`: a stand-in for the pipeline and
    for small experiments, not web text.
    """

    dataset = "fineweb"
    paper_source = HubText("HuggingFaceFW/fineweb-edu", "sample-10BT", size_bytes=45_000_000_000)
    paper_max_tokens = 1_000_000_000
