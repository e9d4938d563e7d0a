"""One run that a sweep asks for."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run that a sweep asks for.

    Attributes:
        run_id: its identity.
        optimizer: label in the sweep.
        spec: plain values of the optimizer config.
        axes: the settings that the sweep varies, with this run's values.
        batch_size: samples per optimizer step.
        seed: of initial weights and data order.
        steps: optimizer steps.
        round: 0 for the sweep's own grid, n for its n-th extension.
        panel: label of the sweep's panel; empty in a sweep without.
        reporting: whether it trains a chosen setting again, with a seed that had no part in the choice.
        initial: run and step whose weights it starts from; None: from the seed.
        keeps: steps after which it keeps its weights; it is a trunk then.
        diagnoses: the tuned run that it trains again, with diagnostics; its own loss counts for nothing.
    """

    run_id: str
    optimizer: str
    spec: dict[str, Any]
    axes: dict[str, Any]
    batch_size: int
    seed: int
    steps: int
    round: int = 0
    panel: str = ""
    reporting: bool = False
    initial: tuple[str, int] | None = None
    keeps: tuple[int, ...] = ()
    diagnoses: str = ""

    @property
    def label(self) -> str:
        """Optimizer label, after the panel's where there are several."""
        return f"{self.panel}: {self.optimizer}" if self.panel else self.optimizer
