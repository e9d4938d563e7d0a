"""Text as a source of tokens: what every text dataset adds to `tasks.kinds.sequences.windows.TokenWindows`."""

from __future__ import annotations

from typing import ClassVar

from suite.training import configurable
from tasks.kinds.local_files import local_path
from tasks.kinds.text.documents import LocalText, Source
from tasks.kinds.text.preparation import Corpus, prepare_text
from tasks.kinds.text.sample import SampleText


@configurable
class TextTokens:
    """Tokens of text, for `TokenWindows`: ``class FineWeb(TextTokens, TokenWindows)``; validation is the text's end.

    A dataset's class sets ``dataset``, ``paper_source`` and ``paper_max_tokens``.
    """

    paper_source: ClassVar[Source | None] = None
    """The text that ``source: paper`` means."""

    paper_max_tokens: ClassVar[int | None] = None
    """Number of its tokens that the paper used."""

    tokenizer: str = "gpt2"
    """``gpt2``, ``gpt-neox``, ``gpt-neox:<path of a tokenizer.json>``, ``bpe:<size>`` (trained on the data) or
    ``byte``."""

    def corpus(self) -> Corpus:
        """What is prepared: the source that ``source`` names, and the settings that decide the tokens.

        Raises:
            ValueError: there is no such source.
        """
        max_tokens = self.max_tokens
        source: Source
        if self.source == "paper":
            if self.paper_source is None:
                raise ValueError(
                    f"data.source paper is not known for {type(self).__name__}; set it to sample or to a path."
                )
            source = self.paper_source
            max_tokens = self.max_tokens or self.paper_max_tokens
        elif self.source == "sample":
            source = SampleText()
        else:
            source = LocalText(local_path(self.source))
        return Corpus(
            dataset=self.dataset,
            source=source,
            tokenizer=self.tokenizer,
            val_share=self.val_share,
            max_tokens=max_tokens,
        )

    def prepare(self) -> str:
        """Tokenize the source once; see `tasks.kinds.text.preparation.prepare_text`."""
        self.token_files = prepare_text(self.corpus(), self.prepared_root, workers=self.workers)
        return self.token_files.fingerprint
