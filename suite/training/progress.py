"""A progress bar that counts optimizer steps."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from suite.training.curves import Curves


class StepProgress(Callback):
    """Shows steps, steps per second and the running loss on a terminal, once per block; silent elsewhere.

    Args:
        curves: the curves of the run, with its losses.
    """

    def __init__(self, curves: Curves) -> None:
        self.curves = curves
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the step from which training starts."""
        if trainer.is_global_zero and sys.stderr.isatty():
            self._bar = tqdm(total=trainer.max_steps, initial=trainer.global_step, unit="step", dynamic_ncols=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar by one block."""
        if self._bar is not None and self.curves.losses:
            self._bar.set_postfix(loss=f"{self.curves.losses[-1]:.4f}", lr=f"{self.curves.lrs[-1]:.2e}", refresh=False)
            self._bar.update(len(batch))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self.on_train_end(trainer, pl_module)
