"""One run that a sweep asks for, and the group of runs that it is tuned in."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple


class GroupKey(NamedTuple):
    """Names a group of a sweep: one optimizer at one batch size, in one panel. Its runs cost the same per step.

    Attributes:
        panel: label of the sweep's panel; empty in a sweep without.
        optimizer: label in the sweep.
        batch_size: samples per optimizer step.
    """

    panel: str
    optimizer: str
    batch_size: int

    @property
    def label(self) -> str:
        """Optimizer label, after the panel's where there are several."""
        return f"{self.panel}: {self.optimizer}" if self.panel else self.optimizer

    def __str__(self) -> str:
        return f"{self.label} {self.batch_size}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A run of a sweep that has no id yet; with the sweep's panel it makes a whole configuration.

    Attributes:
        settings: plain values of the optimizer config, its ``name`` among them.
        batch_size: samples per optimizer step.
        seed: of initial weights and data order.
        panel: label of the sweep's panel; empty in a sweep without.
        initial: run and step whose weights it starts from; None: from the seed.
        keeps: steps after which it keeps its weights; it is a trunk then.
        diagnosed: whether it is trained with the sweep's diagnostics.
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
    """One run of a plan, identified.

    Attributes:
        run_id: its identity.
        optimizer: label in the sweep.
        axes: the settings that the sweep varies, with this run's values.
        steps: optimizer steps.
        round: 0 for the sweep's own grid, n for its n-th extension.
        reporting: whether it trains a chosen setting again, with a seed that had no part in the choice.
        diagnoses: the tuned run that it trains again, with diagnostics; its own loss counts for nothing.
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
        """The group that it belongs to."""
        return GroupKey(self.panel, self.optimizer, self.batch_size)

    def as_record(self) -> dict[str, Any]:
        """The run as a plan in the store keeps it."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in ("settings", "diagnosed")}
