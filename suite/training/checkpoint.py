"""Where an interrupted run goes on: one checkpoint per run, replaced in one step, at intervals of wall time."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from suite.training.stopping import NEVER, stop

STOP = threading.Event()
"""Set (by a signal handler) to have the training of this process save its checkpoint after the block and stop."""


class Checkpoint(Callback):
    """Writes the state needed to go on, at the end of a block, every so many seconds.

    Args:
        path: the checkpoint; a killed process leaves the old one or the new one, never a part.
        every_seconds: least wall time between two checkpoints.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self.path = path
        self.every_seconds = every_seconds
        self._last = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the interval."""
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when the interval is over."""
        if trainer.val_check_batch == NEVER:
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an evaluation instead of before it, so that a resumed run does not lack it."""
        if trainer.state.fn == "fit":
            self._save_if_due(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep of Lightning's loops the number of optimizer steps alone: the batch plan knows everything else."""
        steps = "epoch_loop.manual_optimization.optim_step_progress"
        checkpoint["loops"]["fit_loop"] = {steps: checkpoint["loops"]["fit_loop"][steps]}

    def _save_if_due(self, trainer: Trainer) -> None:
        due = STOP.is_set() or time.monotonic() - self._last >= self.every_seconds
        if trainer.world_size > 1:
            due = bool(trainer.strategy.broadcast(due))
        if due and trainer.global_step < trainer.max_steps and not trainer.should_stop:
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()
            if STOP.is_set():
                stop(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Random states of this process, for networks and data that draw at each step."""
        name, keys, *rest = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "numpy": [name, np.asarray(keys).tolist(), *rest],
            "python": [list(part) if isinstance(part, tuple) else part for part in random.getstate()],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the random states."""
        torch.set_rng_state(state_dict["torch"])
        name, keys, *rest = state_dict["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        version, internal, gauss = state_dict["python"]
        random.setstate((version, tuple(internal), gauss))
