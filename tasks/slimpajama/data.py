"""SlimPajama: deduplicated text of many kinds, the language data of papers 2 and 3."""

from __future__ import annotations

from suite.training import configurable
from tasks.kinds.sequences.windows import TokenWindows
from tasks.kinds.text.data import TextTokens
from tasks.kinds.text.hub import HubText


@configurable
class SlimPajama(TextTokens, TokenWindows):
    """The first 4 billion GPT-NeoX tokens of SlimPajama: 3.9 billion for training, 100 million for validation.

    ``source: paper`` streams ``cerebras/SlimPajama-627B`` in stored order. The released preparation ends every document
    with an end-of-text id and validates on the dataset's own validation split; here documents are joined as on FineWeb,
    without a separator, and validation is the end of what is read. Set ``max_tokens`` and ``val_share`` together to
    keep 100 million tokens for validation.

    ``source: sample`` is `tasks.kinds.text.sample`, embedded English: a stand-in for the pipeline, not web text.
    """

    dataset = "slimpajama"
    paper_source = HubText("cerebras/SlimPajama-627B", None, size_bytes=2_700_000_000_000)
    paper_max_tokens = 4_000_000_000
