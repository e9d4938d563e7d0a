"""Panels, the parts of a sweep: each is a task with batch sizes and grids, and may have trunks and branches."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from suite.fields import ConfigError, budget_text, flattened, plain, require
from suite.records import FINAL_LOSSES
from suite.records.tuning import hashable

Optimizers = dict[str, dict[str, Any]]
"""Label -> settings, each fixed or a grid; the optimizer is ``name``, or the label if ``name`` is not given."""

SET_BY_THE_SWEEP = {
    "data.batch_size": "batch_size of the sweep",
    "seed_everything": "seeds of the sweep",
    "model.optimizer": "optimizers of the sweep",
    "model.name": "task of the sweep",
}
"""Settings of the task that no override can change -> what sets them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branches:
    """Settings that all branches share."""

    schedule: str | dict[str, Any] | None = None
    """Learning-rate schedule, a name or a mapping; without warm-up unless it sets one; by default linear."""

    overrides: dict[str, Any] | None = None
    """Settings of the task that are changed for these runs alone."""

    def __post_init__(self) -> None:
        check_overrides(self.overrides or {})

    def __bool__(self) -> bool:
        """Whether any setting is given."""
        return bool(plain(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trunk(Branches):
    """Settings of the runs from which branches start; their schedule is constant by default."""

    optimizers: Optimizers | None = None
    """Label -> settings, one value each, because a trunk is not tuned."""

    checkpoints: list[float] | None = dataclasses.field(default=None, metadata={"above": 0, "below": 1})
    """Shares of a trunk's steps after which its weights are saved, ascending."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanelSettings:
    """Settings of one panel, which override those of the sweep; mappings are merged setting by setting."""

    task: str | None = None
    """Name of the task."""

    batch_size: list[int] | None = dataclasses.field(
        default=None, metadata={"at_least": 1, "different": True, "most": 1000}
    )
    """Batch sizes."""

    optimizers: dict[str, dict[str, Any] | None] | None = None
    """Label -> settings, each fixed or a grid; null leaves an optimizer out."""

    overrides: dict[str, Any] | None = None
    """Settings of the task that are changed, with dotted names as on the command line."""

    final_loss: str | None = None
    """Definition of the final loss by which settings are tuned."""

    target: float | None = dataclasses.field(default=None, metadata={"finite": True})
    """Loss to which the steps are counted; null: the final loss of the worst tuned point."""

    vary: dict[str, list[Any]] | None = None
    """Settings of the task, each with the values that it takes: a panel for every combination, the first values first.
    With ``data.budget_tokens`` the budget is an axis of the sweep."""

    trunk: Trunk | None = None
    """Settings of the runs from which the branches start; see `suite.sweep.branching`."""

    branches: Branches | None = None
    """Settings that all branches share."""

    def __post_init__(self) -> None:
        check_overrides(self.overrides or {})
        check_overrides(self.vary or {})
        for name, values in (self.vary or {}).items():
            are_different = len(values) > 1 and len({hashable(value) for value in values}) == len(values)
            require(are_different, f"vary.{name}", "two different values or more", values)
        exists = self.final_loss is None or self.final_loss in FINAL_LOSSES
        require(exists, "final_loss", f"one of {', '.join(FINAL_LOSSES)}", self.final_loss)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch point: the weights of a trunk from which the runs of a panel start.

    Attributes:
        of: label of the branching panel in the sweep's YAML; empty in a sweep without panels.
        trunk: label of the trunk's panel.
        optimizer: label of the trunk's optimizer.
        share: share of the trunk's steps after which the weights were saved.
    """

    of: str
    trunk: str
    optimizer: str
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One part of a sweep with all settings filled in; a sweep without panels has one, with an empty label.

    Attributes:
        label: the panel's name in figures and tables.
        task: name of the task.
        batch_size: batch sizes.
        optimizers: label -> settings.
        overrides: changed settings of the task.
        final_loss: definition of the final loss by which settings are tuned.
        target: loss to which the steps are counted, where one was given.
        checkpoints: shares of the steps after which weights are saved; if there are any, the runs are trunks.
        branch: the weights from which the runs start; None: weights drawn by the seed.
    """

    label: str
    task: str
    batch_size: list[int]
    optimizers: Optimizers
    overrides: dict[str, Any]
    final_loss: str = "ema"
    target: float | None = None
    checkpoints: tuple[float, ...] = ()
    branch: Branch | None = None


def varied_panels(panel: Panel, vary: Mapping[str, Sequence[Any]]) -> list[Panel]:
    """A panel for every combination of the values of some settings, named after them.

    Args:
        panel: what they share.
        vary: setting of the task -> values.

    Raises:
        ConfigError: ``overrides`` set one of them too.
    """
    for name in vary:
        if name in panel.overrides:
            raise ConfigError(f"vary and overrides must not set the same, got {name} in both; leave one out.")
    panels = []
    for values in itertools.product(*vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        words = ", ".join(itertools.starmap(_in_words, chosen.items()))
        label = f"{panel.label}, {words}" if panel.label else words
        panels.append(dataclasses.replace(panel, label=label, overrides={**panel.overrides, **chosen}))
    return panels


def _in_words(name: str, value: Any) -> str:
    """A setting in a panel's name: ``exponent 1.5``; a budget as people say it: ``250,000 tokens``."""
    if budget := budget_text(name, value):
        return budget
    last = name.rpartition(".")[2]
    if isinstance(value, bool) or value is None:
        words = {True: "true", False: "false", None: "null"}
        return f"{last} {words[value]}"
    return f"{last} {value:.6g}" if isinstance(value, float) else f"{last} {value}"


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Refuse overrides of what is no setting of the task, and of settings that the sweep itself sets.

    Raises:
        ConfigError: an override changes such a setting.
    """
    for name in flattened(overrides):
        if name.partition(".")[0] not in ("data", "model", "trainer", *SET_BY_THE_SWEEP):
            raise ConfigError(f"overrides must name settings of data, model or trainer, got {name!r:.80}.")
    refuse_overrides(overrides, SET_BY_THE_SWEEP)


def refuse_overrides(overrides: Mapping[str, Any], others: Mapping[str, str]) -> None:
    """Refuse overrides of settings that something else sets.

    Args:
        overrides: dotted name -> value.
        others: setting -> what sets it.

    Raises:
        ConfigError: there is one.
    """
    for name in flattened(overrides):
        for setting, other in others.items():
            if f"{name.replace('.init_args', '')}.".startswith(f"{setting}."):
                raise ConfigError(f"overrides cannot change {name}, which {other} sets; leave it out.")
