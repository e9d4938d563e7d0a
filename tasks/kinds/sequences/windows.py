"""Token files as windows of tokens: the data module that every dataset of sequences builds on."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from suite.training import Data, configurable
from tasks.kinds.sequences.token_files import SPLITS, TokenFiles

COUNTED_AT_ONCE = 1 << 24
"""Tokens that are read at a time to count them."""


@configurable
class TokenBudget(Data):
    """Data whose samples are windows of tokens, so that the budget can be given in tokens."""

    seq_len: int = dataclasses.field(default=256, metadata={"at_least": 1})
    """Tokens per sample."""

    budget_tokens: float | None = dataclasses.field(default=None, metadata={"above": 0})
    """Input tokens that the run may consume; give at most one budget."""

    def budgets(self) -> dict[str, float | None]:
        """Every way in which the budget can be given, tokens included."""
        return super().budgets() | {"budget_tokens": self.budget_tokens}

    def budget_as_samples(self) -> float | None:
        """Budget in samples; a budget in tokens counts input tokens."""
        if self.budget_tokens is not None:
            return float(self.budget_tokens // self.seq_len)
        return super().budget_as_samples()


@configurable
class TokenWindows(TokenBudget):
    """Next-token prediction on token files.

    Sample ``i`` is the tokens ``[i * seq_len, (i + 1) * seq_len]`` of its split, both ends included: ``seq_len``
    inputs and, shifted by one, as many targets. Inputs of different samples do not overlap. The splits are contiguous:
    the validation split's samples begin one token earlier, with the last of the training split, so that every token of
    it is a target, the first one too.

    A subclass gives `prepare`, which sets ``token_files``.
    """

    dataset: ClassVar[str] = "sequences"
    """Name of the dataset, for the prepared folder."""

    content: ClassVar[str] = "text"
    """What a message asks for when a split is too short."""

    val_share: float = dataclasses.field(default=0.01, metadata={"above": 0, "below": 1})
    """Share of the tokens, at the end, that is the validation split."""

    max_tokens: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """Use only the first so many tokens of the source, both splits together; null: what the paper used with
    ``source: paper``, else all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.token_files: TokenFiles | None = None
        self._windows = self._val_tokens = np.empty(0)
        self._before_val = 0

    def verify(self) -> None:
        """Compare the prepared files with their checksums.

        Raises:
            ValueError: a file was changed; the message names it.
        """
        self.ensure_open()
        assert self.token_files is not None
        self.token_files.verify()

    def open(self) -> None:
        """Map the token files into memory.

        Raises:
            ValueError: a split is too short for one sample.
        """
        assert self.token_files is not None
        train, val = (self.token_files.tokens(split) for split in SPLITS)
        for split, tokens, least in (("train", train, "data.seq_len + 1"), ("val", val, "data.seq_len")):
            needed = self.seq_len + (split == "train")
            if len(tokens) < needed:
                raise ValueError(
                    f"The {split} split must have at least {least} = {needed} tokens, got {len(tokens)}; give more "
                    f"{self.content}, lower data.seq_len"
                    + (", or raise data.val_share." if split == "val" else ", or lower data.val_share.")
                )
        # A view of all windows, one row per sample: a batch is one gather of contiguous rows.
        self._windows = sliding_window_view(train, self.seq_len + 1)[:: self.seq_len]
        self._val_tokens, self._before_val = val, int(train[-1])
        self.train_samples, self.val_samples = len(self._windows), len(val) // self.seq_len

    def facts(self) -> dict[str, Any]:
        """Vocabulary size and sequence length."""
        assert self.token_files is not None
        return {"vocab_size": self.token_files.vocab_size, "seq_len": self.seq_len}

    def facts_ahead(self) -> dict[str, Any]:
        """The least vocabulary, and the sequence length."""
        return {"vocab_size": 1, "seq_len": self.seq_len}

    def class_counts(self) -> np.ndarray:
        """How often each token occurs in the training split, int64 ``[V]``."""
        assert self.token_files is not None
        tokens, size = self.token_files.tokens("train"), self.token_files.vocab_size
        counts = np.zeros(size, dtype=np.int64)
        for start in range(0, len(tokens), COUNTED_AT_ONCE):
            counts += np.bincount(tokens[start : start + COUNTED_AT_ONCE], minlength=size)
        return counts

    def gather(self, split: str, indices: np.ndarray) -> torch.Tensor:
        """Tokens of some samples.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[n]``.

        Returns:
            int64 ``[n, seq_len + 1]``; inputs are all columns but the last, targets all but the first.
        """
        if split == "train":
            return torch.from_numpy(self._windows[indices].astype(np.int64))
        positions = indices[:, None] * self.seq_len + np.arange(-1, self.seq_len)
        tokens = self._val_tokens.take(positions, mode="clip").astype(np.int64)
        return torch.from_numpy(np.where(positions < 0, self._before_val, tokens))

    def gather_many(self, split: str, indices: np.ndarray) -> list[torch.Tensor]:
        """Tokens of several batches, read at once; the batches are views of one tensor.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[batches, n]``.
        """
        tokens = self.gather(split, indices.reshape(-1))
        return list(tokens.view(*indices.shape, self.seq_len + 1).unbind(0))
