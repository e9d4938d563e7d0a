"""The toy problems' data: a quadratic's noise, pairs of words, a language; generated on demand, nothing is prepared."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from suite.theory.frequencies import zipf
from suite.theory.hessians import block_hessian
from suite.training import configurable
from tasks.kinds.sequences.windows import TokenBudget
from tasks.toy.generated import Generated
from tasks.toy.language import ZipfLanguage
from tasks.toy.randomness import normals, uniforms

COUNTED_WINDOWS = 4096
"""Number of windows of the generated language in which its words are counted."""

_VAL_SEED = 0
"""The validation split is the same for every seed of a run."""


@configurable
class NoisyQuadratic(Generated):
    """A quadratic of nine dimensions with noisy gradients (paper 2, appendix I).

    A training sample decides the noise of one gradient; a batch averages ``batch_size`` of these gradients. The
    validation loss is the exact loss.
    """

    hessian: str = "heterogeneous"
    """``heterogeneous`` or ``homogeneous``: where the eigenvalues 1 to 5000 sit, see `suite.theory.hessians`."""

    noise: str = "rows"
    """``rows``: a batch is a random subset of the nine rows of the design matrix (paper 2; batch size 9 has no noise);
    ``gaussian``: independent noise of ``sigma`` per coordinate and sample, for batch sizes of any size."""

    sigma: float = dataclasses.field(default=1.0, metadata={"at_least": 0})
    """Standard deviation of the Gaussian noise of one sample's gradient, per coordinate."""

    hessian_seed: int = dataclasses.field(default=0, metadata={"at_least": 0})
    """Seed of the bases of the Hessian's blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise not in ("rows", "gaussian"):
            raise ValueError(f"data.noise must be rows or gaussian, got {self.noise!r}.")
        self._matrix = block_hessian(self.hessian, self.hessian_seed)
        if self.noise == "rows" and self.batch_size > len(self._matrix):
            raise ValueError(
                f"data.batch_size must be at most {len(self._matrix)} with data.noise rows, got {self.batch_size}; "
                "lower it or set data.noise to gaussian."
            )

    def content(self) -> dict[str, Any]:
        """Hessian and noise."""
        return {"hessian": self._matrix.tolist(), "noise": self.noise, "sigma": self.sigma}

    def facts(self) -> dict[str, Any]:
        """The Hessian ``[d, d]`` as lists, the noise, and the loss at the start (all weights 1)."""
        return {"hessian": self._matrix.tolist(), "noise": self.noise, "trivial_loss": float(self._matrix.sum() / 2)}

    def gather(self, split: str, indices: np.ndarray) -> Tensor:
        """Noise of some samples.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[n]``.

        Returns:
            Gaussian noise, float32 ``[n, d]``; or the numbers of design rows, int64 ``[n, 1]``, of which those of one
            step differ. For ``val``, zeros or all rows.
        """
        dimension = len(self._matrix)
        if self.noise == "gaussian":
            if split == "val":
                return torch.zeros(len(indices), dimension)
            return torch.from_numpy(self.sigma * normals(self.seed, "noise", indices, dimension)).float()
        if split == "val":
            return torch.arange(dimension).repeat(len(indices))[:, None]
        steps, positions = np.divmod(np.asarray(indices), self.batch_size)
        orders = uniforms(self.seed, "rows", steps, dimension).argsort(axis=1)
        return torch.from_numpy(orders[np.arange(len(positions)), positions])[:, None]


class BigramBatch(NamedTuple):
    """A batch of word pairs, or the whole population.

    Attributes:
        words: first words, int64 ``[n]``.
        targets: second words, int64 ``[n]``; of the population, their conditional frequencies, float32 ``[n, V]``.
        weights: weight of each row in the sum of the loss, float32 ``[n]``.
        count: number that the sum is divided by.
    """

    words: Tensor
    targets: Tensor
    weights: Tensor
    count: int


@configurable
class Bigrams(Generated):
    """Pairs of words of a Zipf language (Kunstner & Bach 2025).

    The first word has the frequencies ``pi_k ~ k^(-alpha)``, the second the same after a permutation that the first
    word decides. The validation loss is the population's.
    """

    vocab_size: int = dataclasses.field(default=256, metadata={"at_least": 2, "at_most": 8192})
    """Number of words; a table of their pairs is kept in memory."""

    exponent: float = dataclasses.field(default=1.0, metadata={"at_least": 0, "at_most": 10})
    """``alpha`` of Zipf's law; 0: all words are equally frequent."""

    gradients: str = "sampled"
    """``sampled``: a sample is a pair; ``population``: every sample is the whole population, so that any batch size
    gives the exact gradient."""

    language_seed: int = dataclasses.field(default=0, metadata={"at_least": 0})
    """Seed of the permutations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradients not in ("sampled", "population"):
            raise ValueError(f"data.gradients must be sampled or population, got {self.gradients!r}.")

    def content(self) -> dict[str, Any]:
        """The language, and whether a sample is a pair or the population."""
        return {
            "vocab_size": self.vocab_size,
            "exponent": self.exponent,
            "gradients": self.gradients,
            "language_seed": self.language_seed,
        }

    def open(self) -> None:
        """Make frequencies and permutations."""
        super().open()
        self._pi = zipf(self.vocab_size, self.exponent)
        drawn = uniforms(self.language_seed, "followers", np.arange(self.vocab_size), self.vocab_size)
        self._followers = drawn.argsort(axis=1)
        conditionals = np.empty_like(drawn)
        np.put_along_axis(conditionals, self._followers, self._pi[None].repeat(self.vocab_size, axis=0), axis=1)
        words = torch.arange(self.vocab_size)
        self._population = BigramBatch(
            words, torch.from_numpy(conditionals).float(), torch.from_numpy(self._pi).float(), 1
        )

    def facts(self) -> dict[str, Any]:
        """Vocabulary, exponent, the loss at zero weights and the least loss that is possible."""
        return {
            "vocab_size": self.vocab_size,
            "exponent": self.exponent,
            "trivial_loss": 0.5,
            "optimal_loss": 0.5 * (1 - float(np.square(self._pi).sum())),
        }

    def gather(self, split: str, indices: np.ndarray) -> BigramBatch:
        """Some pairs, or the population; see `BigramBatch`.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[n]``.
        """
        if split == "val" or self.gradients == "population":
            return self._population
        return self._pairs(indices[None])[0]

    def gather_many(self, split: str, indices: np.ndarray) -> list[Any]:
        """Several batches, drawn at once.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[batches, n]``.
        """
        if split == "val" or self.gradients == "population":
            return [self._population] * len(indices)
        return self._pairs(indices)

    def _pairs(self, indices: np.ndarray) -> list[BigramBatch]:
        drawn = uniforms(self.seed, "pairs", indices.reshape(-1), 2)
        ranks = np.searchsorted(np.cumsum(self._pi)[:-1], drawn, side="right")
        words = torch.from_numpy(ranks[:, 0]).view(indices.shape)
        targets = torch.from_numpy(self._followers[ranks[:, 0], ranks[:, 1]]).view(indices.shape)
        weights = torch.ones(indices.shape[1])
        return [BigramBatch(w, t, weights, indices.shape[1]) for w, t in zip(words, targets, strict=True)]


@configurable
class ZipfText(Generated, TokenBudget):
    """Windows of a generated language whose entropy is known; see `tasks.toy.language`."""

    vocab_size: int = dataclasses.field(default=512, metadata={"at_least": 2, "at_most": 2**31})
    """Number of words."""

    exponent: float = dataclasses.field(default=1.0, metadata={"at_least": 0, "at_most": 10})
    """Exponent of Zipf's law; 0: all words are equally frequent."""

    context: int = dataclasses.field(default=1, metadata={"at_least": 1, "at_most": 2**20})
    """How many positions back the word stands that the next one depends on."""

    classes: int | None = dataclasses.field(default=None, metadata={"at_least": 1, "at_most": 4096})
    """Number of word classes, at most one per word; null: one per word, at most 64."""

    sharpness: float = dataclasses.field(default=2.0, metadata={"at_least": 0, "at_most": 20})
    """How predictable the language is; 0: independent words."""

    seq_len: int = dataclasses.field(default=64, metadata={"at_least": 1})
    """Tokens per sample."""

    num_val_samples: int = dataclasses.field(default=256, metadata={"at_least": 1, "at_most": 2**24})
    """Windows of the validation split."""

    language_seed: int = dataclasses.field(default=0, metadata={"at_least": 0, "below": 2**63})
    """Seed of the language."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.language = ZipfLanguage(
            vocab_size=self.vocab_size,
            exponent=self.exponent,
            context=self.context,
            classes=self.classes or min(self.vocab_size, 64),
            sharpness=self.sharpness,
            seed=self.language_seed,
        )

    def content(self) -> dict[str, Any]:
        """The language and the windows' length."""
        return {**dataclasses.asdict(self.language), "seq_len": self.seq_len, "val_samples": self.num_val_samples}

    def open(self) -> None:
        """Set the numbers of samples."""
        super().open()
        self.val_samples = self.num_val_samples

    def facts(self) -> dict[str, Any]:
        """Vocabulary, window, and in nats per token: entropy rate, trivial and optimal loss.

        ``trivial_loss`` is that of the words' frequencies alone, ``optimal_loss`` the least a network can reach on
        windows of this length.
        """
        return {
            "vocab_size": self.language.vocab_size,
            "seq_len": self.seq_len,
            "entropy_rate": self.language.entropy_rate,
            "trivial_loss": self.language.unigram_entropy,
            "optimal_loss": self.language.optimal_loss(self.seq_len),
        }

    def class_counts(self) -> np.ndarray:
        """How often each word is a target in the first `COUNTED_WINDOWS` windows, int64 ``[V]``."""
        windows = self.gather("train", np.arange(min(COUNTED_WINDOWS, self.train_samples)))
        return torch.bincount(windows[:, 1:].flatten(), minlength=self.language.vocab_size).numpy()

    def gather(self, split: str, indices: np.ndarray) -> Tensor:
        """Tokens of some samples, int64 ``[n, seq_len + 1]``.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[n]``.
        """
        seed = self.seed if split == "train" else _VAL_SEED
        return torch.from_numpy(self.language.windows(seed, split, indices, self.seq_len + 1))
