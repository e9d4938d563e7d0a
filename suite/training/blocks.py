"""How many optimizer steps a Lightning call executes: about a second's, and one where callbacks look at each."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.model_helpers import is_overridden

BLOCK_SECONDS = 1.0
"""Between two blocks a training can be stopped, saved and shown, so that none of these waits for longer than this, or
for a step that takes longer."""


class BlockCallback(Callback):
    """A callback that knows that what Lightning calls a batch is a block of steps."""


def look_at_steps(trainer: Trainer) -> bool:
    """Whether a callback of the trainer takes a batch for a step, as Lightning's own do (but its timer)."""
    hooks = ("on_train_batch_start", "on_train_batch_end")
    return any(
        any(is_overridden(hook, callback, parent=Callback) for hook in hooks)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if not isinstance(callback, BlockCallback | Timer)
    )


class Pace(BlockCallback):
    """Measures what steps cost, and cuts blocks to about `BLOCK_SECONDS`.

    Blocks end at multiples of the longest length too, so that what is done at these does not depend on the clock.
    """

    def __init__(self) -> None:
        self._steps = 1
        self._begun = time.perf_counter()

    def end_of_block(self, step: int, longest: int) -> int:
        """The step after the last of a block that is about to be read.

        Args:
            step: the first of the block.
            longest: most steps of a block.
        """
        self._begun = time.perf_counter()
        return min(step + self._steps, (step // longest + 1) * longest)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Choose the length of the block that is read next; Lightning reads one ahead."""
        each = (time.perf_counter() - self._begun) / len(batch)
        steps = max(1, int(BLOCK_SECONDS / each))
        self._steps = steps if trainer.world_size == 1 else trainer.strategy.broadcast(steps)
