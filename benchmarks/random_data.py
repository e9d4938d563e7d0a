"""Data of a paper's sizes with random content, to train on where the papers' data are not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from paper_sizes import paper_facts, random_batch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from suite.training import Data

BLOCK_BYTES = 1 << 26
"""Size of a block's batches at most, where they are larger than one step's."""


class RandomData(Data):
    """Every batch is the same; it is made once.

    Args:
        pair: name of the task.
        recipe: the task's own data with the recipe's settings, not open.
        batch_size: samples per step.
        micro_batch: samples per forward pass at most; None: the recipe's.
        steps: of the run.
        facts: other sizes than the papers'.
    """

    def __init__(
        self,
        pair: str,
        recipe: Data,
        *,
        batch_size: int,
        steps: int,
        micro_batch: int | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size, micro_batch=micro_batch or recipe.micro_batch, budget_steps=steps, shuffle=False,
            eval_samples=2,
        )  # fmt: skip
        self._facts = paper_facts(pair, recipe) if facts is None else facts
        self._mixup = bool(vars(recipe).get("mixup"))
        self._batches: dict[int, Any] = {}

    def prepare(self) -> str:
        """Nothing; the fingerprint is that of no data."""
        return "0" * 16

    def open(self) -> None:
        """Set the numbers of samples, and how many may be on the device for the steps of a block."""
        self.train_samples, self.val_samples = 2 * self.batch_size, 2
        batch = tree_leaves(random_batch(self._facts, 2, mixup=self._mixup))
        size = sum(leaf.nbytes for leaf in batch if isinstance(leaf, Tensor)) // 2
        self.block_samples = max(1, min(self.block_samples, BLOCK_BYTES // size))

    def facts(self) -> dict[str, Any]:
        """The papers'."""
        return self._facts

    def gather(self, split: str, indices: np.ndarray) -> Any:
        """The batch of this size.

        Args:
            split: is not looked at.
            indices: as many as samples are asked for.
        """
        size = len(indices)
        if size not in self._batches:
            self._batches[size] = random_batch(self._facts, size, mixup=self._mixup)
        return self._batches[size]


def config_of(base: dict[str, Any], data: RandomData, optimizer: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run on random data.

    Args:
        base: the recipe's, resolved.
        data: of the run.
        optimizer: plain values of its config.
    """
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(Data)}
    model = {**base["model"], "init_args": {**base["model"]["init_args"], "optimizer": optimizer}}
    return {**base, "model": model, "data": {"class_path": "random_data.RandomData", "init_args": fields}}
