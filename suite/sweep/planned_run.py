"""One run of a sweep, and the key of the group of runs with which it is tuned."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple


class GroupKey(NamedTuple):
    """The key of a group of runs: one optimizer at one batch size, in one panel. Its runs cost the same per step.

    Attributes:
        panel: label of the sweep's panel; empty in a sweep without panels.
        optimizer: label of the optimizer in the sweep.
        batch_size: samples per optimizer step.
    """

    panel: str
    optimizer: str
    batch_size: int

    @property
    def label(self) -> str:
        """The optimizer's label, after the panel's label if there is one."""
        return f"{self.panel}: {self.optimizer}" if self.panel else self.optimizer

    def __str__(self) -> str:
        return f"{self.label} {self.batch_size}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A run of a sweep without an id; together with its panel it determines a whole configuration.

    Attributes:
        settings: plain values of the optimizer config, including ``name``.
        batch_size: samples per optimizer step.
        seed: seed of initial weights and data order.
        panel: label of the sweep's panel; empty in a sweep without panels.
        initial: run id and step of the weights from which the run starts; None: weights drawn by the seed.
        keeps: steps after which the run saves its weights; if there are any, the run is a trunk.
        diagnosed: whether the run is trained with the sweep's diagnostics.
    """

    settings: dict[str, Any]
    batch_size: int
    seed: int
    panel: str = ""
    initial: tuple[str, int] | None = None
    keeps: tuple[int, ...] = ()
    diagnosed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedRun(RunSpec):
    """One run of a plan, with its id.

    Attributes:
        run_id: the run's id.
        optimizer: label of the optimizer in the sweep.
        axes: the settings that the sweep varies, with this run's values.
        steps: number of optimizer steps.
        round: 0 for the sweep's first grid, n for its n-th extension.
        reporting: whether the run repeats a chosen setting with a seed that was not used in the choice.
        diagnoses: id of the tuned run that this run repeats with diagnostics; its loss does not count in tuning.
    """

    run_id: str
    optimizer: str
    axes: dict[str, Any]
    steps: int
    round: int = 0
    reporting: bool = False
    diagnoses: str = ""

    @property
    def key(self) -> GroupKey:
        """The key of the run's group."""
        return GroupKey(self.panel, self.optimizer, self.batch_size)

    def as_record(self) -> dict[str, Any]:
        """The run as plain values, for the plan in the store."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in ("settings", "diagnosed")}
