"""Checkpoints: one per run, replaced atomically at intervals of wall time, from which an interrupted run resumes."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from suite.training.blocks import BlockCallback
from suite.training.stopping import STOP, is_over, is_paused, pause

LEAST_SECONDS = 60.0
"""Wall time between two checkpoints, unless writing one takes more than `LARGEST_SHARE` of it."""

LARGEST_SHARE = 0.05

RANDOM_STATES = "random_states"
"""Key of a checkpoint: the states of every rank's generators, in the order of the ranks."""

_STEPS = "epoch_loop.manual_optimization.optim_step_progress"


class Checkpoint(BlockCallback):
    """Writes the state needed to go on: every so many seconds, and where a training ends before its last step.

    It ends so when a signal has asked for it (`STOP`), or when the trainer was stopped by its time limit or another
    callback. An evaluation that is due then, or under way on one device, is left to the run that goes on.

    Args:
        path: the checkpoint; a killed process leaves the old one or the new one, never a part.
        every_seconds: least wall time between two checkpoints; None: `LEAST_SECONDS`, and where writing is slow so
            many that it takes `LARGEST_SHARE` of the time.

    Attributes:
        saved_at: optimizer steps that the checkpoint's run has taken; None: there is no checkpoint.
    """

    def __init__(self, path: Path, every_seconds: float | None) -> None:
        self.path = path
        self.every_seconds = every_seconds
        self.saved_at: int | None = None
        self._wait = LEAST_SECONDS if every_seconds is None else every_seconds
        self._last = time.monotonic()
        self._owes_evaluation = False
        self._device = torch.device("cpu")
        self._restored: dict[str, Any] = {}
        self._before_evaluation: dict[str, Any] = {}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Where only the last evaluation is left to do, let Lightning begin its epoch, which it would skip."""
        of_ranks = checkpoint.get(RANDOM_STATES, [])
        self._restored = of_ranks[trainer.global_rank] if trainer.global_rank < len(of_ranks) else {}
        self.saved_at = checkpoint["loops"]["fit_loop"][_STEPS]["total"]["completed"]
        if self.saved_at >= trainer.max_steps:
            trainer.fit_loop.epoch_loop.max_steps, trainer.fit_loop.max_epochs = -1, 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random states; make the evaluation that the checkpoint's run did not come to."""
        STOP.listen()
        self._last = time.monotonic()
        self._device = trainer.strategy.root_device
        if self._restored:  # only now, because Lightning draws numbers of its own before the training starts
            _restore_random_states(self._restored, self._device)
        self._before_evaluation = self._states()
        if self._asked(trainer):
            pause(trainer)
        elif self._owes_evaluation:
            trainer.val_check_batch, trainer.validating = 1, True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pause the training where it is to end, else save when the interval is over."""
        if is_over(trainer):
            return
        self._owes_evaluation = trainer.val_check_batch == 1
        if self._owes_evaluation:
            self._before_evaluation = self._states()
        at_end = trainer.global_step >= trainer.max_steps
        if (self._asked(trainer) or trainer.should_stop) and not at_end:
            pause(trainer)
        elif self._is_due(trainer) and (self._owes_evaluation or not at_end):
            self._save(trainer)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave an evaluation when a signal has asked; several devices must end it together."""
        if trainer.state.fn == "fit" and trainer.world_size == 1 and STOP.is_set:
            pause(trainer)
            raise StopIteration

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an evaluation when the interval is over: it may have taken longer than the steps before it."""
        if trainer.state.fn == "fit" and trainer.val_check_batch == 1:
            self._owes_evaluation = False
            if trainer.global_step < trainer.max_steps and self._is_due(trainer):
                self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where the training ends before its last step, or before its last evaluation."""
        if not is_over(trainer) and (is_paused(trainer) or trainer.global_step < trainer.max_steps):
            self._save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep of Lightning's loops the number of optimizer steps alone: the batch plan knows everything else.

        A time limit is one of each call, so what earlier calls took of it is forgotten. Every rank adds its random
        states, for networks and data that draw at each step.
        """
        states = self._before_evaluation if self._owes_evaluation else self._states()
        of_ranks: list[Any] = [states]
        if trainer.world_size > 1:
            of_ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(of_ranks, states)
        checkpoint[RANDOM_STATES] = of_ranks
        checkpoint["loops"]["fit_loop"] = {_STEPS: checkpoint["loops"]["fit_loop"][_STEPS]}
        checkpoint["callbacks"].pop(Timer.__qualname__, None)

    def _asked(self, trainer: Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(STOP.is_set, all=False)

    def _is_due(self, trainer: Trainer) -> bool:
        due = time.monotonic() - self._last >= self._wait
        return due if trainer.world_size == 1 else bool(trainer.strategy.broadcast(due))

    def _save(self, trainer: Trainer) -> None:
        begun = time.monotonic()
        trainer.save_checkpoint(self.path)
        self.saved_at, self._last = trainer.global_step, time.monotonic()
        if self.every_seconds is None:
            self._wait = max(LEAST_SECONDS, (self._last - begun) * (1 / LARGEST_SHARE - 1))

    def state_dict(self) -> dict[str, Any]:
        """What is left to do."""
        return {"owes_evaluation": self._owes_evaluation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what is left to do."""
        self._owes_evaluation = state_dict.get("owes_evaluation", False)

    def _states(self) -> dict[str, Any]:
        return _random_states(self._device)


def _random_states(device: torch.device) -> dict[str, Any]:
    """The states of all generators that this process draws from, in plain values and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "python": [list(part) if isinstance(part, tuple) else part for part in random.getstate()],
    }


def _restore_random_states(saved: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(saved["torch"])
    if device.type == "cuda" and saved["cuda"] is not None:
        torch.cuda.set_rng_state(saved["cuda"], device)
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
