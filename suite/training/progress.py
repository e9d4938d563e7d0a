"""How far a training is: one line that is drawn over on a terminal, or a line now and then in a log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from suite.training.blocks import BlockCallback
from suite.training.checkpoint import Checkpoint
from suite.training.curves import Curves
from suite.training.data import Data
from suite.training.observer import callback_of
from suite.training.throughput import Throughput, throughput

LOG_EVERY_SECONDS = 30.0

USUAL_COLUMNS = 100
"""Width of the bar where the terminal does not tell its own, as in some containers."""


class StepProgress(ProgressBar, BlockCallback):
    """Shows the number of parameters, then steps, loss and the time to go, once per block or every so many seconds.

    Attributes:
        shown: whether anything is to be shown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shown = True
        self._bar: tqdm | None = None
        self._begun = self._logged = 0.0
        self._first = self._steps = 0

    def disable(self) -> None:
        """Show nothing; Lightning asks for that on all devices but one."""
        self.shown = False

    def enable(self) -> None:
        """Show again."""
        self.shown = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is trained, and open the bar at the step that training starts from."""
        data: Data = trainer.datamodule  # type: ignore[attr-defined]
        self._first, self._steps = trainer.global_step, data.steps
        self._begun = self._logged = time.monotonic()
        count = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
        parameters = tqdm.format_sizeof(count) if count >= 1000 else str(count)
        start = f", from step {self._first} on" if self._first else ""
        kept = callback_of(trainer, Checkpoint)
        where = "" if kept is None else f"; record and checkpoint: {kept.path.parent}"
        self._say(f"{parameters} parameters, {self._steps} steps{start}, on {trainer.strategy.root_device}{where}")
        if data.is_repeated:
            self._say(
                f"the budget passes {data.passes:.2f} times over the {data.train_samples} training samples; take more "
                "data or lower it where every sample is to come once"
            )
        if self.shown and sys.stderr.isatty():
            width = {"dynamic_ncols": True} if _columns() else {"ncols": USUAL_COLUMNS}
            self._bar = tqdm(total=self._steps, initial=self._first, unit="step", **width)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on by one block."""
        step, now = trainer.global_step, time.monotonic()
        loss = f"{float(trainer.progress_bar_metrics['train/loss']):.4f}"
        speed = _speed(trainer, pl_module)
        loss = loss if speed is None else f"{loss}, {speed}"
        if self._bar is not None:
            self._draw(lambda bar: bar.set_postfix_str(f"loss {loss}", refresh=False))
            self._draw(lambda bar: bar.update(step - bar.n))
        elif batch_idx == 0 or now - self._logged > LOG_EVERY_SECONDS:
            self._logged = now
            to_go = tqdm.format_interval((now - self._begun) / (step - self._first) * (self._steps - step))
            self._say(f"step {step} of {self._steps} ({step / self._steps:.0%}), loss {loss}, {to_go} to go")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what takes the time."""
        self._draw(lambda bar: bar.set_description("evaluating"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Back to the steps."""
        self._draw(lambda bar: bar.set_description(""))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._draw(tqdm.close)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self._draw(tqdm.close)

    def _say(self, words: str) -> None:
        with contextlib.suppress(OSError):  # no training ends because a terminal or a pipe is gone
            if self.shown:
                print(f"fit: {words}", file=sys.stderr, flush=True)

    def _draw(self, change: Callable[[tqdm], Any]) -> None:
        with contextlib.suppress(OSError):
            if self._bar is not None:
                change(self._bar)


def _columns() -> int:
    """Columns of the terminal; 0 where it does not tell."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 0


def _speed(trainer: Trainer, task: Any) -> Throughput | None:
    """The throughput so far, without evaluations, of all that the run's record will hold."""
    curves, data = callback_of(trainer, Curves), trainer.datamodule  # type: ignore[attr-defined]
    if curves is None:
        return None
    samples = len(curves.losses) * data.batch_size
    return throughput(task, data, trainer, samples=samples, seconds=curves.seconds["train"])
