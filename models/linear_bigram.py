"""The linear bigram model: a table with a row of outputs per word (Kunstner & Bach 2025).

Shape letters: B batch, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn


class LinearBigram(nn.Module):
    """A linear map of one-hot words, all weights zero at the start.

    Args:
        vocab_size: V.
    """

    def __init__(self, *, vocab_size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)
        nn.init.zeros_(self.table.weight)

    def forward(self, words_B: Tensor) -> Tensor:
        """Rows of some words, ``[B, V]``."""
        return self.table(words_B)
