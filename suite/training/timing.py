"""What an optimizer step costs, timed within one training."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from suite.training.stopping import stop

BLOCKS = 6
"""Number of blocks that the timed steps are cut into; their median ignores short disturbances of the machine."""


class StepTimer(Callback):
    """Times the blocks of a training and stops it when enough of them have been timed.

    The first steps make buffers and graphs and are not counted. The blocks after them are as long as `BLOCKS` of them
    fit into the time that there is, and no longer than those of a whole training.

    Args:
        longest: steps of a block of a whole training.
        first: steps that are not counted.
        seconds: seconds per step -> wall time for the steps that are counted; for slow steps one or two steps suffice.

    Attributes:
        block_steps: steps that the next block is to have; the data ask for it.
        overhead: seconds that the first steps took beyond what steps cost; 0 before they are through.
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
        """Median over the timed blocks; of the first steps where there are no others.

        Raises:
            ValueError: no step has been taken.
        """
        if len(self._stamps) < 2:
            raise ValueError("seconds per step need at least one step")
        counted = [stamp for stamp in self._stamps if stamp[0] >= self.first]
        stamps = counted if len(counted) > 1 else self._stamps
        return statistics.median(
            (after - before) / (later - earlier) for (earlier, before), (later, after) in itertools.pairwise(stamps)
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._stamp(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the time; cut the blocks to come, or stop."""
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
