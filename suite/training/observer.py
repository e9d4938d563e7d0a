"""Who may look at the steps of a run while they happen: diagnostics."""

from __future__ import annotations

from typing import Any, TypeVar

from lightning.pytorch import Callback, Trainer

from suite.records import Diagnosed

Kind = TypeVar("Kind", bound=Callback)


def callback_of(trainer: Trainer, kind: type[Kind]) -> Kind | None:
    """The trainer's callback of a kind; None where it has none."""
    return next((c for c in trainer.callbacks if isinstance(c, kind)), None)  # type: ignore[attr-defined]


class Observer(Callback):
    """Is shown those steps that it attends, between the pieces of a step; it changes nothing of what it sees."""

    def attends(self, step: int) -> bool:
        """Whether it wants to be shown a step, 0-based; the other calls are about the step that was last asked for."""
        raise NotImplementedError

    def before_clipping(self, micro_batches: list[Any]) -> None:
        """The parameters have the gradient of the whole step."""

    def before_update(self) -> None:
        """The gradient is clipped."""

    def after_update(self, optimizer: Any) -> None:
        """The optimizer has moved the parameters; they still have the clipped gradient."""

    def diagnosed(self, grad_norms: list[float], diverged_at: int | None) -> Diagnosed:
        """What it saw, for the record.

        Args:
            grad_norms: of every step of the run, before clipping.
            diverged_at: 0-based step of the first loss that was not finite.
        """
        raise NotImplementedError


class PackObserver(Callback):
    """As `Observer`, for all runs of a pack."""

    def attends(self, step: int) -> bool:
        """Whether it wants to be shown a step, 0-based; the other calls are about the step that was last asked for."""
        raise NotImplementedError

    def before_step(self, micro_batches: list[Any]) -> None:
        """The step has not begun."""

    def after_update(self) -> None:
        """The optimizer has moved the runs."""

    def diagnosed(self, run: int, grad_norms: list[float], diverged_at: int | None) -> Diagnosed:
        """What it saw of one run, by its number in the pack; see `Observer.diagnosed`."""
        raise NotImplementedError
