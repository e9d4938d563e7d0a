"""How a training is ended before its last step."""

from __future__ import annotations

import sys

from lightning.pytorch import Trainer

NEVER = sys.maxsize
"""Of a trainer's ``val_check_batch``: no evaluation after this block."""


def stop(trainer: Trainer) -> None:
    """End the training after this block, without the evaluation that Lightning makes of a training that is stopped.

    A run is stopped where going on says nothing more: it has diverged, its process is asked to end and its checkpoint
    is saved, or enough of its steps have been timed.
    """
    trainer.limit_val_batches = 0
    trainer.val_check_batch = NEVER
    trainer.should_stop = True
