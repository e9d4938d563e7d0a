"""Checkpoints: one per run, replaced atomically at intervals of wall time, from which an interrupted run resumes."""

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
"""An event that a signal handler sets; the training of this process then saves a checkpoint and stops."""


class Checkpoint(Callback):
    """Saves a checkpoint at the end of a block, when ``every_seconds`` have passed since the last.

    Args:
        path: the checkpoint; a process that is killed leaves the old file or the new one, never a part.
        every_seconds: least wall time between two checkpoints, seconds.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self.path = path
        self.every_seconds = every_seconds
        self._last = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the first interval."""
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if the interval is over, unless an evaluation follows."""
        if trainer.val_check_batch == NEVER:
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if the interval is over; saving before the evaluation would lose it in a resumed run."""
        if trainer.state.fn == "fit":
            self._save_if_due(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Reduce the state of Lightning's loops to the number of steps, from which the batch plan gives the rest."""
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
        """The random states of this process, for networks and data that draw random numbers at each step."""
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
