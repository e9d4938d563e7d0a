"""Nucleotides to tokens: single characters, or k-mers that do not overlap."""

from __future__ import annotations

import numpy as np

from tasks.hg38.fasta import N, Stretch

LARGEST_K = 7
"""Ids of longer k-mers do not fit 16 bits."""


class KmerTokens:
    """Turns stretches into tokens one after the other; at most k - 1 nucleotides are kept from one to the next.

    The id of a k-mer is its nucleotides read as digits of a number to base 4, the first one highest; any k-mer with an
    N is ``4 ** k``. A record starts a new k-mer, and the nucleotides that are left at its end, fewer than k, are
    dropped (paper 1). With k = 1 tokens are the characters A, C, G, T, N.

    Args:
        k: nucleotides per token, 1 to `LARGEST_K`.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.vocab_size = 4**k + 1
        self.dtype = np.dtype("<u1" if self.vocab_size <= 256 else "<u2")
        self._rest = b""

    def tokens(self, stretch: Stretch) -> np.ndarray:
        """Tokens that the stretch completes, ``self.dtype``, ``[tokens]``."""
        if self.k == 1:
            return np.frombuffer(stretch.codes, dtype=self.dtype)
        codes = stretch.codes if stretch.starts_record else self._rest + stretch.codes
        count = len(codes) // self.k
        self._rest = codes[count * self.k :]
        digits = np.frombuffer(codes, dtype=np.uint8, count=count * self.k).reshape(count, self.k)
        tokens = digits[:, 0].astype(self.dtype)
        for i in range(1, self.k):
            tokens <<= 2
            tokens |= digits[:, i]
        if N in codes:
            # N is the only code with its third bit set.
            any_set = digits[:, 0].copy()
            for i in range(1, self.k):
                any_set |= digits[:, i]
            tokens[any_set >= N] = self.vocab_size - 1
        return tokens
