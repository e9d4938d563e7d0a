"""Times optimizer steps within one training."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from suite.training.blocks import BlockCallback
from suite.training.stopping import stop

BLOCKS = 6
"""Number of blocks of timed steps; their median is robust to short disturbances of the machine."""


class StepTimer(BlockCallback):
    """Times the blocks of a training, and stops it when enough of them have been timed.

    The first steps allocate buffers and make graphs, and are not counted. The length of the blocks after them is chosen
    so that `BLOCKS` of them fit into the available time; it is at most that of an ordinary training.

    Args:
        longest: number of steps per block in an ordinary training.
        first: number of steps that are not counted.
        seconds: function from seconds per step to the wall time for counted steps; one or two slow steps are enough.

    Attributes:
        block_steps: number of steps for the next block, which the data read.
        overhead: extra seconds that the first steps took, compared with later steps; 0 until they are done.
    """

    def __init__(self, longest: int, first: int, seconds: Callable[[float], float]) -> None:
        self.longest = longest
        self.first = first
        self.block_steps = 1
        self.overhead = 0.0
        self._seconds = seconds
        self._stamps: list[tuple[int, float]] = []

    @property
    def seconds_per_step(self) -> float:
        """The median over the timed blocks, or over the first steps if there are no others.

        Raises:
            ValueError: no step has been taken.
        """
        return statistics.median(self._of_blocks())

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles of the blocks, as a share of the median; 0 for a single block."""
        values = self._of_blocks()
        if len(values) < 2:
            return 0.0
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return (high - low) / 2 / middle

    def _of_blocks(self) -> list[float]:
        """Seconds per step of every timed block, or of the first steps if there are no others."""
        if len(self._stamps) < 2:
            raise ValueError("seconds per step need at least one step")
        counted = [stamp for stamp in self._stamps if stamp[0] >= self.first]
        stamps = counted if len(counted) > 1 else self._stamps
        pairs = itertools.pairwise(stamps)
        return [(after - before) / (later - earlier) for (earlier, before), (later, after) in pairs]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the timing."""
        self._stamp(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Time the block; choose the length of the next one, or stop."""
        self._stamp(trainer)
        step, now = self._stamps[-1]
        if step <= self.first:
            return
        each = self.seconds_per_step
        seconds = self._seconds(each)
        begun = next(time for step, time in self._stamps if step >= self.first)
        self.overhead = max(0.0, begun - self._stamps[0][1] - self.first * each)
        self.block_steps = max(1, min(self.longest, int(seconds / BLOCKS / each)))
        if now - begun + self.block_steps * each > seconds:
            stop(trainer)

    def _stamp(self, trainer: Trainer) -> None:
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self._stamps.append((trainer.global_step, time.perf_counter()))
