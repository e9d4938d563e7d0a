"""Trains again with half of the micro-batch where memory ran out and the results stay the same."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from suite.training.memory import OutOfMemory

Result = TypeVar("Result")


def with_memory(attempt: Callable[[int | None], Result]) -> Result:
    """Call a training until its micro-batch fits; it goes on from its checkpoint, if it has one.

    Args:
        attempt: trains with a micro-batch of at most so many samples; None: as configured.

    Raises:
        OutOfMemory: a micro-batch of one sample does not fit, or its size is part of the run (BatchNorm, MixUp).
    """
    micro_batch: int | None = None
    while True:
        try:
            return attempt(micro_batch)
        except OutOfMemory as shortage:
            if shortage.smaller is None:
                raise
            micro_batch = shortage.smaller
            print(
                f"The memory does not hold {shortage.micro_batch} samples at a time; trained again with "
                f"--data.micro_batch {micro_batch}, which changes no result.",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        gc.collect()  # the trainer and its modules refer to each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
