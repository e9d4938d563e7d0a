"""Which language has a Zipf vocabulary, a context of chosen length, and an entropy that is known exactly?

Words have the frequencies ``pi_k ~ k^(-alpha)``. They fall into classes, and the class of a word depends on the class
of the word ``context`` positions before; within its class a word is drawn by its frequency. The class chain is made so
that every word keeps its frequency exactly. Hence, in nats:

- a predictor that knows frequencies alone reaches ``H(pi)``;
- one that sees the word ``context`` positions back reaches the entropy rate: of the class chain, plus within classes.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np

from suite.theory.frequencies import zipf
from tasks.toy.randomness import normals, uniforms

_SINKHORN_ROUNDS = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZipfLanguage:
    """A stationary language.

    Attributes:
        vocab_size: number of words.
        exponent: ``alpha`` of Zipf's law; 0: all words are equally frequent.
        context: how many positions back the word stands that the next one depends on; 1: a bigram language.
        classes: number of word classes, at most as many as words.
        sharpness: how predictable classes are; 0: independent words.
        seed: seed of the classes and their chain.
    """

    vocab_size: int
    exponent: float
    context: int
    classes: int
    sharpness: float
    seed: int

    def __post_init__(self) -> None:
        if self.classes > self.vocab_size:
            raise ValueError(
                f"data.classes must be at most data.vocab_size, got {self.classes} classes of {self.vocab_size} words."
            )

    @cached_property
    def frequencies(self) -> np.ndarray:
        """``pi``, descending, ``[vocab_size]``: token 0 is the most frequent."""
        return zipf(self.vocab_size, self.exponent)

    @cached_property
    def class_of(self) -> np.ndarray:
        """Class of each word, ``[vocab_size]``: dealt out at random, so that every class has a word."""
        order = np.argsort(uniforms(self.seed, "classes", np.arange(self.vocab_size), 1)[:, 0])
        dealt = np.empty(self.vocab_size, dtype=np.int64)
        dealt[order] = np.arange(self.vocab_size) % self.classes
        return dealt

    @cached_property
    def class_shares(self) -> np.ndarray:
        """Share of each class, ``[classes]``."""
        return np.bincount(self.class_of, weights=self.frequencies, minlength=self.classes)

    @cached_property
    def chain(self) -> np.ndarray:
        """Probability of each class after each, ``[classes, classes]``; its stationary law is `class_shares`."""
        noise = normals(self.seed, "chain", np.arange(self.classes), self.classes)
        joint = np.exp(self.sharpness * (noise - noise.max()))
        # Rows and columns are scaled in turn until both add up to the shares.
        for _ in range(_SINKHORN_ROUNDS):
            joint *= (self.class_shares / joint.sum(axis=0))[None, :]
            rows = joint.sum(axis=1)
            joint *= (self.class_shares / rows)[:, None]
            if np.abs(rows / self.class_shares - 1).max() < 1e-12:
                break
        return joint / joint.sum(axis=1, keepdims=True)

    @property
    def unigram_entropy(self) -> float:
        """Entropy of the frequencies in nats per token: what a predictor without context reaches."""
        return float(-np.sum(self.frequencies * np.log(self.frequencies)))

    @property
    def entropy_rate(self) -> float:
        """Entropy of a token given all before it, in nats."""
        logs = np.log(self.chain, out=np.zeros_like(self.chain), where=self.chain > 0)
        of_chain = -np.sum(self.class_shares[:, None] * self.chain * logs)
        within = -np.sum(self.frequencies * np.log(self.frequencies / self.class_shares[self.class_of]))
        return float(of_chain + within)

    def optimal_loss(self, seq_len: int) -> float:
        """Least mean loss over a window's targets; those that see no word ``context`` back cost `unigram_entropy`."""
        blind = min(self.context - 1, seq_len)
        return (blind * self.unigram_entropy + (seq_len - blind) * self.entropy_rate) / seq_len

    def windows(self, seed: int, stream: str, indices: np.ndarray, length: int) -> np.ndarray:
        """Independent stationary stretches, int64 ``[n, length]``; row ``i`` is a function of its number and the seed.

        Args:
            seed: seed of the samples.
            stream: name of their stream of random numbers.
            indices: sample numbers, int64 ``[n]``.
            length: number of tokens.
        """
        drawn = uniforms(seed, stream, indices, 2 * length).reshape(-1, length, 2)
        classes = np.empty(drawn.shape[:2], dtype=np.int64)
        first = np.cumsum(self.class_shares)[:-1]
        for position in range(length):
            if position < self.context:
                classes[:, position] = np.searchsorted(first, drawn[:, position, 0], side="right")
            else:
                before = self._cumulative[classes[:, position - self.context]]
                classes[:, position] = (before <= drawn[:, position, :1]).sum(axis=1)
        return self._words(classes, drawn[:, :, 1])

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return np.cumsum(self.chain, axis=1)[:, :-1]

    @cached_property
    def _sorted_words(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Words by class; the cumulative frequency up to each; the cumulative frequency before each class."""
        words = np.argsort(self.class_of, kind="stable")
        return words, np.cumsum(self.frequencies[words]), np.concatenate(([0.0], np.cumsum(self.class_shares)))

    def _words(self, classes: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        words, cumulative, before = self._sorted_words
        index = np.searchsorted(cumulative, before[classes] + drawn * self.class_shares[classes], side="right")
        # Rounding may put a point just outside its class.
        ends = np.cumsum(np.bincount(self.class_of, minlength=self.classes))
        starts = ends - np.bincount(self.class_of, minlength=self.classes)
        return words[np.clip(index, starts[classes], ends[classes] - 1)]
