"""The curves of a run: loss, learning rate and gradient norm of every step, and the metrics of every evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from lightning.pytorch import LightningModule, Trainer

from suite.optim import Clipping
from suite.training.blocks import BlockCallback
from suite.training.stopping import NEVER, stop


class Curves(BlockCallback):
    """Collects per-step values with one host synchronisation per block, stops on divergence, and times the phases.

    A run diverges at the first step whose loss is not finite. Checkpoints hold the curves, so that a resumed run has
    those of all its steps. Lightning is told of every step: what it and its callbacks log, at evaluations too, has the
    number of an optimizer step, 0-based, and ``train/loss`` and the like can be monitored.

    Args:
        eval_every_steps: optimizer steps between evaluations; None: only after the last.

    Attributes:
        losses: train loss of each step so far, mean over the global batch.
        grad_norms: global gradient norm of each step, before clipping.
        lrs: learning rate of the first parameter group at each step.
        evaluations: metric name -> {step after which it was measured: value}.
        diverged_at: 0-based step of the first non-finite loss, or None.
        seconds: seconds that this process spent in ``train``, ``eval`` and ``log``.
    """

    def __init__(self, eval_every_steps: int | None) -> None:
        self.eval_every_steps = eval_every_steps
        self.losses: list[float] = []
        self.grad_norms: list[float] = []
        self.lrs: list[float] = []
        self.evaluations: dict[str, dict[int, float]] = {}
        self.diverged_at: int | None = None
        self.seconds = {"train": 0.0, "eval": 0.0, "log": 0.0}
        self._mark = time.perf_counter()

    def table(self, clipping: Clipping) -> pa.Table:
        """The curves as a table: step, train_loss, lr, grad_norm, clipped, and a nullable column per metric."""
        count, limit = len(self.losses), clipping.max_norm
        columns = {
            "step": _column(np.arange(count)),
            "train_loss": _column(np.array(self.losses, dtype=float)),
            "lr": _column(np.array(self.lrs, dtype=float)),
            "grad_norm": _column(np.array(self.grad_norms, dtype=float)),
            "clipped": _column(np.array([limit is not None and norm > limit for norm in self.grad_norms], dtype=bool)),
        }
        for name, values in sorted(self.evaluations.items()):
            measured, is_there = np.zeros(count), np.zeros(count, dtype=bool)
            steps = list(values)
            measured[steps], is_there[steps] = [*values.values()], True
            columns[name] = _column(measured, is_there)
        return pa.table(columns)

    def last_metrics(self) -> dict[str, float]:
        """The last value of every metric, without those that are not finite."""
        last = {name: values[max(values)] for name, values in self.evaluations.items() if values}
        return {name: value for name, value in last.items() if math.isfinite(value)}

    def extend(self, losses: list[float], grad_norms: list[float], lrs: list[float]) -> None:
        """Add a block's values, up to the first loss that is not finite."""
        first = len(self.losses)
        self.losses += losses
        self.grad_norms += grad_norms
        self.lrs += lrs
        bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is not None:
            self.diverged_at = first + bad
            for column in (self.losses, self.grad_norms, self.lrs):
                del column[self.diverged_at + 1 :]

    def evaluated(self, metrics: Mapping[str, Any]) -> None:
        """Record an evaluation at the last step before it."""
        for name, value in metrics.items():
            if name.startswith("val/"):
                self.evaluations.setdefault(name, {})[len(self.losses) - 1] = float(value)

    # Lightning's hooks.

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the timing."""
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Schedule or skip the evaluation after this block, by optimizer steps instead of Lightning's batches."""
        after = trainer.global_step + len(batch)
        every = self.eval_every_steps
        due = after >= trainer.max_steps or (every is not None and after % every == 0)
        trainer.val_check_batch = 1 if due else NEVER
        _tell_step(trainer, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Fetch the block's values, and stop the run if it has diverged."""
        values = torch.stack((outputs["losses"].float(), outputs["grad_norms"].float()))
        if trainer.world_size > 1:
            values = trainer.strategy.reduce(values, reduce_op="mean")
        losses, norms = values.tolist()
        self.lap("train")
        first = len(self.losses)
        self.extend(losses, norms, outputs["lrs"])
        _tell_step(trainer, trainer.global_step - 1)
        latest = self.of_step(-1)
        trainer.progress_bar_metrics.update(latest)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in latest.items()})
        if self.diverged_at is not None:
            stop(trainer)
        self._log(trainer, first)
        self.lap("log")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the evaluation at the last step before it, if it was due there and is whole."""
        if trainer.state.fn == "fit" and trainer.val_check_batch == 1:
            self.evaluated(trainer.callback_metrics)
            self.lap("eval")

    def state_dict(self) -> dict[str, Any]:
        """The curves so far, for the checkpoint."""
        return {
            "curves": torch.tensor([self.losses, self.grad_norms, self.lrs], dtype=torch.float64),
            "evaluations": self.evaluations,
            "seconds": dict(self.seconds),
            "diverged_at": self.diverged_at,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the curves of a checkpoint."""
        self.losses, self.grad_norms, self.lrs = state_dict["curves"].tolist()
        self.evaluations = {name: dict(values) for name, values in state_dict["evaluations"].items()}
        self.seconds = dict(state_dict["seconds"])
        self.diverged_at = state_dict.get("diverged_at")

    def _log(self, trainer: Trainer, first: int) -> None:
        if not trainer.loggers or not trainer.is_global_zero:
            return
        every = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        for step in range(first, len(self.losses)):
            if step % every == 0:
                for logger in trainer.loggers:
                    logger.log_metrics(self.of_step(step), step=step)

    def of_step(self, step: int) -> dict[str, float]:
        """The values of a step that is done, by the names that loggers have for them."""
        return {
            "train/loss": self.losses[step],
            "train/grad_norm": self.grad_norms[step],
            "train/lr": self.lrs[step],
        }

    def lap(self, phase: str, share: int = 1) -> None:
        """Add the time since the last call to a phase, divided by ``share`` if that many runs are trained at once."""
        now = time.perf_counter()
        self.seconds[phase] += (now - self._mark) / share
        self._mark = now


class CurvesOfRuns(BlockCallback):
    """Collects the curves of several runs that are trained at once.

    Attributes:
        runs: the curves of every run.
    """

    runs: list[Curves]


def _tell_step(trainer: Trainer, step: int) -> None:
    """Have Lightning log what comes as of an optimizer step; it counts blocks."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = step


def _column(values: np.ndarray, is_there: np.ndarray | None = None) -> pa.Array:
    """A column of int64, float64 or bool, null where nothing is; ``pa.array`` would load pandas, in half a second."""
    nulls = None if is_there is None else pa.py_buffer(np.packbits(is_there, bitorder="little"))
    data = pa.py_buffer(np.packbits(values, bitorder="little") if values.dtype == bool else values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [nulls, data])
