"""The interface through which diagnostics see the steps of a run while they happen."""

from __future__ import annotations

from typing import Any, TypeVar

from lightning.pytorch import Callback, Trainer

from suite.records import Diagnosed

Kind = TypeVar("Kind", bound=Callback)


def callback_of(trainer: Trainer, kind: type[Kind]) -> Kind | None:
    """The trainer's callback of a kind; None where it has none."""
    return next((c for c in trainer.callbacks if isinstance(c, kind)), None)  # type: ignore[attr-defined]


class Observer(Callback):
    """Sees the steps that it attends, between the parts of a step, and changes nothing.

    The step of a pack has no parts: packs call `before_step` and `after_update`, single runs call all but the first.
    """

    def attends(self, step: int) -> bool:
        """Whether it must see a step, 0-based; the other calls are about the step of the last such question."""
        raise NotImplementedError

    def before_step(self, micro_batches: list[Any]) -> None:
        """The step of a pack has not begun."""

    def before_clipping(self, micro_batches: list[Any]) -> None:
        """The parameters have the gradient of the whole step."""

    def before_update(self) -> None:
        """The gradient is clipped."""

    def after_update(self, optimizer: Any) -> None:
        """The optimizer has moved the parameters; those of a single run still have the clipped gradient."""

    def diagnosed(self, grad_norms: list[float], diverged_at: int | None, run: int = 0) -> Diagnosed:
        """The results of a run, for the record.

        Args:
            grad_norms: of every step of the run, before clipping.
            diverged_at: 0-based step of the first loss that was not finite.
            run: number of the run in its pack.
        """
        raise NotImplementedError
