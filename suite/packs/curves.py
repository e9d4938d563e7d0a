"""The curves of every run of a pack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from suite.packs.packed_task import PackedTask
from suite.training.curves import Curves, CurvesOfRuns
from suite.training.stopping import stop


class PackCurves(CurvesOfRuns):
    """Records the curves of every run (see `Curves`), stops the pack once all runs diverged, and compacts it before.

    Args:
        lrs: peak learning rate of each run.
        eval_every_steps: optimizer steps between evaluations; None: only after the last.
    """

    def __init__(self, lrs: Sequence[float], eval_every_steps: int | None) -> None:
        self.lrs = list(lrs)
        self.runs = [Curves(eval_every_steps) for _ in lrs]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the timing of every run."""
        for curves in self.runs:
            curves.on_train_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Schedule or skip the evaluation after this block."""
        self.runs[0].on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Fetch the block's losses and norms; compact the pack if half of its runs diverged, stop it if all did."""
        assert isinstance(pl_module, PackedTask)
        runs = pl_module.rows.tolist()
        values = torch.stack((outputs["losses"], outputs["grad_norms"])).movedim(2, 0).tolist()
        for run, (losses, norms) in zip(runs, values, strict=True):
            curves = self.runs[run]
            if curves.diverged_at is None:
                curves.extend(losses, norms, [rate.of(self.lrs[run]) for rate in outputs["rates"]])
        for curves in self.runs:
            curves.lap("train", share=len(self.runs))
        living = [row for row, run in enumerate(runs) if self.runs[run].diverged_at is None]
        if not living:
            stop(trainer)
        elif 2 * len(living) <= len(runs) and not pl_module.compiles and self._may_compact(trainer):
            pl_module.compact(torch.tensor(living, device=pl_module.rows.device))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the evaluation of every run that has not diverged."""
        assert isinstance(pl_module, PackedTask)
        if trainer.val_check_batch != 1:
            return
        for run, metrics in pl_module.evaluation.items():
            if self.runs[run].diverged_at is None:
                self.runs[run].evaluated(metrics)
        for curves in self.runs:
            curves.lap("eval", share=len(self.runs))

    def _may_compact(self, trainer: Trainer) -> bool:
        """Whether blocks end at this step whatever steps take, so that no number depends on the clock."""
        return trainer.global_step % trainer.datamodule.steps_per_block == 0  # type: ignore[attr-defined, no-any-return]

    def state_dict(self) -> dict[str, Any]:
        """All curves so far, for the checkpoint."""
        return {"runs": [curves.state_dict() for curves in self.runs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the curves of a checkpoint."""
        for curves, state in zip(self.runs, state_dict["runs"], strict=True):
            curves.load_state_dict(state)
