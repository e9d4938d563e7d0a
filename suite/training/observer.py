"""The interface through which diagnostics observe the steps of a run during training."""

from __future__ import annotations

from typing import Any, TypeVar

from lightning.pytorch import Callback, Trainer

from suite.records import Diagnosed
from suite.training.blocks import BlockCallback

Kind = TypeVar("Kind", bound=Callback)


def callback_of(trainer: Trainer, kind: type[Kind]) -> Kind | None:
    """The trainer's first callback of class ``kind``; None if it has none."""
    return next((c for c in trainer.callbacks if isinstance(c, kind)), None)  # type: ignore[attr-defined]


class Observer(BlockCallback):
    """A callback that is called during chosen steps, between their parts, and changes nothing.

    A single run calls `before_clipping`, `before_update` and `after_update`. A pack calls `before_step` and
    `after_update`, because its step may be one graph.
    """

    def attends(self, step: int) -> bool:
        """Whether the observer needs step ``step`` (0-based); the calls that follow belong to this step."""
        raise NotImplementedError

    def before_step(self, micro_batches: list[Any]) -> None:
        """Called before a step of a pack."""

    def before_clipping(self, micro_batches: list[Any]) -> None:
        """Called when the parameters hold the gradient of the whole batch."""

    def before_update(self) -> None:
        """Called when the gradient has been clipped."""

    def after_update(self, optimizer: Any) -> None:
        """Called after the optimizer's step; the parameters of a single run still hold the clipped gradient."""

    def diagnosed(self, grad_norms: list[float], diverged_at: int | None, run: int = 0) -> Diagnosed:
        """The results of a run, for the record.

        Args:
            grad_norms: gradient norm of every step of the run, before clipping.
            diverged_at: 0-based step of the first loss that was not finite; None if all were.
            run: number of the run in its pack.
        """
        raise NotImplementedError
