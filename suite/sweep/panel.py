"""One part of a sweep: a task with its batch sizes and grids."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branch:
    """Where the runs of a panel start: from the weights that a trunk had on its way.

    Attributes:
        of: label of the panel that the sweep's YAML has, of which this is a branch point; may be empty.
        trunk: label of the trunk's panel.
        optimizer: label of the trunk's optimizer.
        share: of the trunk's steps, after which its weights were kept.
    """

    of: str
    trunk: str
    optimizer: str
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One part of a sweep: a task with its batch sizes and grids; a sweep without panels is one, without a label.

    Attributes:
        label: its name in figures and tables.
        task: name of the task.
        batch_size: batch sizes.
        optimizers: label -> settings.
        overrides: settings of the task that it changes.
        final_loss: definition of the final loss that tuning goes by.
        checkpoints: shares of the steps after which weights are kept; its runs are trunks then.
        branch: where its runs start; None: from the seed.
    """

    label: str
    task: str
    batch_size: list[int]
    optimizers: dict[str, dict[str, Any]]
    overrides: dict[str, Any]
    final_loss: str = "ema"
    checkpoints: tuple[float, ...] = ()
    branch: Branch | None = None
