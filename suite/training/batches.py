"""The samples of each optimizer step: a function of the seed alone, divided over devices and accumulation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The number of optimizer steps of a run, and the samples of each step.

    Attributes:
        samples: samples in the training split.
        batch_size: samples per optimizer step over all devices and accumulation.
        steps: number of optimizer steps from the start of the data's order; a run that starts from the weights of
            another run takes only the later ones.
        seed: seed of the order.
        shuffle: whether every epoch has a new permutation; otherwise samples come in the stored order.
        world_size: number of devices that share each batch.
        micro_batch: samples per forward pass on one device; None: the device's whole share.
        rank: index of this device.
        shards: number of samples in each shard, for data too large for random access. An epoch then takes the shards
            in random order, and permutes samples only within ``shard_window`` consecutive shards.
        shard_window: number of shards whose samples are permuted together.
    """

    samples: int
    batch_size: int
    steps: int
    seed: int
    shuffle: bool = True
    world_size: int = 1
    micro_batch: int | None = None
    rank: int = 0
    shards: tuple[int, ...] | None = None
    shard_window: int = 1

    def __post_init__(self) -> None:
        if self.shards is not None and (sum(self.shards) != self.samples or self.shard_window < 1):
            raise ValueError(
                f"The shards must hold the {self.samples} training samples, in windows of at least one shard, got "
                f"{sum(self.shards)} samples in windows of {self.shard_window}; change data.source or "
                "data.shuffle_shards."
            )
        micro = self.micro_batch or self.batch_size // max(1, self.world_size)
        if micro * self.world_size == 0 or self.batch_size % (micro * self.world_size):
            raise ValueError(
                "batch_size must equal micro_batch x devices x accumulation exactly, got batch_size "
                f"{self.batch_size}, micro_batch {micro}, devices {self.world_size}, accumulation "
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
        """Number of forward passes on one device per optimizer step."""
        return self.batch_size // ((self.micro_batch or self.batch_size // self.world_size) * self.world_size)

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimizer steps per epoch; leftover samples at the end of an epoch are dropped (paper 1)."""
        return self.samples // self.batch_size

    def indices(self, step: int) -> np.ndarray:
        """The indices of this device's samples in one optimizer step.

        Args:
            step: 0-based step.

        Returns:
            int64 array ``[accumulation, micro_batch]``. Concatenated over ranks it is the global batch, which does not
            depend on the number of devices or on accumulation.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        share = self.batch_size // self.world_size
        first = position * self.batch_size + self.rank * share
        if self.shuffle:
            samples = self._order(epoch)[first : first + share].astype(np.int64)
        else:
            samples = np.arange(first, first + share, dtype=np.int64)
        return samples.reshape(self.accumulation, -1)

    def _order(self, epoch: int) -> np.ndarray:
        if self.shards is None:
            return _permutation(self.samples, self.seed, epoch)
        return _windowed_permutation(self.shards, self.shard_window, self.seed, epoch)


@lru_cache(maxsize=2)
def _permutation(samples: int, seed: int, epoch: int) -> np.ndarray:
    order = np.arange(samples, dtype=_index_type(samples))
    np.random.default_rng([seed, epoch]).shuffle(order)
    order.flags.writeable = False
    return order


@lru_cache(maxsize=2)
def _windowed_permutation(shards: tuple[int, ...], window: int, seed: int, epoch: int) -> np.ndarray:
    rng = np.random.default_rng([seed, epoch])
    dtype = _index_type(sum(shards))
    ends = np.cumsum(shards)
    stored = [np.arange(end - length, end, dtype=dtype) for end, length in zip(ends, shards, strict=True)]
    drawn = rng.permutation(len(shards))
    windows = []
    for first in range(0, len(drawn), window):
        samples = np.concatenate([stored[shard] for shard in drawn[first : first + window]])
        rng.shuffle(samples)
        windows.append(samples)
    order = np.concatenate(windows)
    order.flags.writeable = False
    return order


def _index_type(samples: int) -> type[np.integer]:
    """Four bytes where the indices of so many samples fit into them, else eight."""
    return np.uint32 if samples <= 2**32 else np.int64
