"""Panels, the parts of a sweep: a task with batch sizes and grids, and the trunks and branches that they stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from suite.fields import ConfigError, plain, require
from suite.records import FINAL_LOSSES

Optimizers = dict[str, dict[str, Any]]
"""Label -> settings, each fixed or a grid; the label is the optimizer unless ``name`` says otherwise."""

SET_BY_THE_SWEEP = {"data.batch_size": "batch_size", "seed_everything": "seeds", "model.optimizer": "optimizers"}
"""Settings of the task that no override can change -> the key of a sweep that sets them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branches:
    """Settings that all branches share."""

    schedule: str | dict[str, Any] | None = None
    """Learning-rate schedule, a name or a mapping; without warm-up unless it says so; by default linear."""

    overrides: dict[str, Any] | None = None
    """Settings of the task that change for these runs alone."""

    def __post_init__(self) -> None:
        check_overrides(self.overrides or {})

    def __bool__(self) -> bool:
        """Whether any setting is given."""
        return bool(plain(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trunk(Branches):
    """The run that branches go on from; its schedule is constant by default."""

    optimizers: Optimizers | None = None
    """Label -> settings, one value each: a trunk is not tuned."""

    checkpoints: list[float] | None = dataclasses.field(default=None, metadata={"above": 0, "below": 1})
    """Shares of a trunk's steps after which its weights are kept, ascending."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanelSettings:
    """Settings of one panel, which replace the sweep's; mappings are merged with the sweep's, setting by setting."""

    task: str | None = None
    """Name of the task."""

    batch_size: list[int] | None = dataclasses.field(default=None, metadata={"at_least": 1, "different": True})
    """Batch sizes."""

    optimizers: dict[str, dict[str, Any] | None] | None = None
    """Label -> settings, each fixed or a grid; null leaves an optimizer out."""

    overrides: dict[str, Any] | None = None
    """Settings of the task that change, dotted as on the command line."""

    final_loss: str | None = None
    """Definition of the final loss that tuning goes by."""

    trunk: Trunk | None = None
    """The run that the branches go on from; see `suite.sweep.branching`."""

    branches: Branches | None = None
    """Settings that all branches share."""

    def __post_init__(self) -> None:
        check_overrides(self.overrides or {})
        exists = self.final_loss is None or self.final_loss in FINAL_LOSSES
        require(exists, "final_loss", f"one of {', '.join(FINAL_LOSSES)}", self.final_loss)


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
    """One part of a sweep, everything filled in; a sweep without panels is one, without a label.

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
    optimizers: Optimizers
    overrides: dict[str, Any]
    final_loss: str = "ema"
    checkpoints: tuple[float, ...] = ()
    branch: Branch | None = None


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Refuse overrides of what the sweep sets itself.

    Raises:
        ConfigError: there is one.
    """
    for name in overrides:
        for setting, key in SET_BY_THE_SWEEP.items():
            if f"{name.replace('.init_args', '')}.".startswith(f"{setting}."):
                raise ConfigError(f"overrides cannot change {name}, which {key} of the sweep sets; leave it out.")
