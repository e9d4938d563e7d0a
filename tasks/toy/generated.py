"""Samples that are computed on demand: the base of the toy problems' data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, ClassVar

import numpy as np

from suite.training import Data, configurable


@configurable
class Generated(Data):
    """Samples that are a function of the run's seed and their number alone.

    Sample numbers go up from step to step, so that every step sees fresh samples; there is nothing to shuffle. The data
    are synthetic, so ``source: paper`` and ``source: sample`` are the same; the papers' values stand in the YAMLs.
    """

    recipe: ClassVar[int] = 1
    """Raised whenever the generated samples would change."""

    shuffle: ClassVar[bool] = False  # type: ignore[misc]

    num_samples: int = dataclasses.field(default=2**24, metadata={"at_least": 1, "at_most": 2**28})
    """Samples of one epoch; a larger budget sees them again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source not in ("sample", "paper"):
            raise ValueError(
                f"data.source of a toy task must be sample (paper means the same: both are generated), got "
                f"{self.source!r}; toy data are not read from files."
            )

    def content(self) -> dict[str, Any]:
        """Settings that decide the samples, plain values."""
        raise NotImplementedError

    def prepare(self) -> str:
        """Nothing is prepared; the fingerprint is that of the recipe."""
        text = json.dumps({"kind": type(self).__name__, "recipe": self.recipe, **self.content()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def open(self) -> None:
        """Set the number of samples; the validation split of an exact loss is one sample."""
        self.train_samples = self.num_samples
        self.val_samples = 1

    def gather_many(self, split: str, indices: np.ndarray) -> list[Any]:
        """Several batches, generated at once where their samples are plain tensors.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[batches, n]``.
        """
        samples = self.gather(split, indices.reshape(-1))
        return list(samples.view(*indices.shape, *samples.shape[1:]).unbind(0))
