"""Samples that are computed when they are asked for: what the toy problems' data modules share."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

import numpy as np

from suite.training.data import Data


class Generated(Data):
    """Samples that are a function of the run's seed and their number alone.

    Sample numbers go up from step to step, so that every step sees fresh samples; there is nothing to shuffle. The data
    are synthetic, so ``source: paper`` and ``source: sample`` are the same; the papers' values stand in the YAMLs.

    Args:
        batch_size: samples per optimizer step over all devices and accumulation.
        num_samples: samples of one epoch; a larger budget sees them again.
        **kwargs: settings of every dataset, see `suite.training.data.Data`.
    """

    recipe: ClassVar[int] = 1
    """Raised whenever the generated samples would change."""

    def __init__(self, *, batch_size: int, num_samples: int = 2**24, **kwargs: Any) -> None:
        super().__init__(batch_size=batch_size, shuffle=False, **kwargs)
        if self.source not in ("sample", "paper"):
            raise ValueError(
                f"data.source of a toy task must be sample (paper means the same: both are generated), got "
                f"{self.source!r}; toy data are not read from files."
            )
        if num_samples < 1:
            raise ValueError(f"data.num_samples must be at least 1, got {num_samples}.")
        self.num_samples = num_samples

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
