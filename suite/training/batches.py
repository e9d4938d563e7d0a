"""Which samples does each optimizer step see? A function of the seed alone, cut over devices and accumulation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How many optimizer steps a run takes and which samples each of them sees.

    Attributes:
        samples: samples in the training split.
        batch_size: samples per optimizer step over all devices and accumulation.
        steps: optimizer steps of the run.
        seed: decides the order.
        shuffle: a fresh permutation every epoch; otherwise the stored order.
        world_size: devices that share each batch.
        micro_batch: samples per forward pass on one device.
        rank: which of the devices this is.
    """

    samples: int
    batch_size: int
    steps: int
    seed: int
    shuffle: bool = True
    world_size: int = 1
    micro_batch: int | None = None
    rank: int = 0

    def __post_init__(self) -> None:
        micro = self.micro_batch or self.batch_size // max(1, self.world_size)
        if micro * self.world_size == 0 or self.batch_size % (micro * self.world_size):
            raise ValueError(
                "batch_size must equal micro_batch x devices x accumulation exactly, got batch_size "
                f"{self.batch_size}, "
                f"micro_batch {micro}, devices {self.world_size}, accumulation "
                f"{self.batch_size / max(1, micro * self.world_size):g}; change data.batch_size, data.micro_batch or "
                "trainer.devices."
            )
        if self.batch_size > self.samples:
            raise ValueError(
                f"batch_size must not exceed the {self.samples} training samples, got {self.batch_size}; lower "
                "data.batch_size or take more data."
            )

    @property
    def accumulation(self) -> int:
        """Forward passes on one device per optimizer step."""
        return self.batch_size // ((self.micro_batch or self.batch_size // self.world_size) * self.world_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per pass over the data; leftovers at the end of an epoch are dropped (paper 1)."""
        return self.samples // self.batch_size

    def indices(self, step: int) -> np.ndarray:
        """Numbers of this device's samples of one optimizer step.

        Args:
            step: 0-based.

        Returns:
            int64 array ``[accumulation, micro_batch]``; concatenated over ranks it is the global batch, which does
            not depend on devices or accumulation.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.batch_size
        mine = self.batch_size // self.world_size
        if self.shuffle:
            order = _permutation(self.samples, self.seed, epoch)
            chosen = order[first + self.rank * mine : first + (self.rank + 1) * mine].astype(np.int64)
        else:
            chosen = np.arange(first + self.rank * mine, first + (self.rank + 1) * mine, dtype=np.int64)
        return chosen.reshape(self.accumulation, -1)


@lru_cache(maxsize=2)
def _permutation(samples: int, seed: int, epoch: int) -> np.ndarray:
    dtype = np.uint32 if samples < 2**32 else np.int64
    order = np.arange(samples, dtype=dtype)
    np.random.default_rng([seed, epoch]).shuffle(order)
    order.flags.writeable = False
    return order
