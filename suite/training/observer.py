"""Who may look at the steps of a run: diagnostics, while they happen."""

from __future__ import annotations

from typing import Any, Protocol


class Observer(Protocol):
    """Is shown those steps that it attends, between the pieces of a step; it changes nothing of what it sees."""

    def attends(self, step: int) -> bool:
        """Whether it wants to be shown a step, 0-based; the other calls are about the step that was last asked for."""
        ...

    def before_clipping(self, micro_batches: list[Any]) -> None:
        """The parameters have the gradient of the whole step."""
        ...

    def before_update(self) -> None:
        """The gradient is clipped."""
        ...

    def after_update(self, optimizer: Any) -> None:
        """The optimizer has moved the parameters; they still have the clipped gradient."""
        ...


class PackObserver(Protocol):
    """As `Observer`, for all runs of a pack."""

    def attends(self, step: int) -> bool:
        """Whether it wants to be shown a step, 0-based; the other calls are about the step that was last asked for."""
        ...

    def before_step(self, micro_batches: list[Any]) -> None:
        """The step has not begun."""
        ...

    def after_update(self) -> None:
        """The optimizer has moved the runs."""
        ...
