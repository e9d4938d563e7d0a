"""Ends a training before its last step."""

from __future__ import annotations

import sys

from lightning.pytorch import Trainer

NEVER = sys.maxsize
"""A value of a trainer's ``val_check_batch``: no evaluation after this block."""


def stop(trainer: Trainer) -> None:
    """End the training after this block, without the evaluation that Lightning would make at a stop.

    A training is stopped when the run has diverged, when a signal asks the process to end (after a checkpoint was
    saved), or when enough steps have been timed.
    """
    trainer.limit_val_batches = 0
    trainer.val_check_batch = NEVER
    trainer.should_stop = True
