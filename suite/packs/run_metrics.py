"""Metrics of the validation split for the runs of a pack."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torchmetrics import MetricCollection

from suite.training.task import Task


class RunMetrics(nn.Module):
    """One collection of metrics per run, updated from outputs with a leading run dimension.

    Args:
        tasks: one per run.
        facts: facts of the data, see `Data.facts`.
    """

    def __init__(self, tasks: Sequence[Task], facts: dict[str, Any]) -> None:
        super().__init__()
        self._tasks = tuple(tasks)
        self._rows: dict[int, int] = {}
        self.collections = nn.ModuleList(tasks[0].loss_and_metrics(facts) for _ in tasks)

    def begin(self, rows: Tensor, alive: Tensor) -> None:
        """Reset all metrics; from then on only the runs that are alive are evaluated.

        Args:
            rows: number of the run in each row, int64 ``[R]``.
            alive: which runs have not diverged, bool ``[R, 1]``.
        """
        runs = zip(rows.tolist(), alive.flatten().tolist(), strict=True)
        self._rows = {run: row for row, (run, lives) in enumerate(runs) if lives}
        for metrics in self.collections:
            metrics.reset()  # type: ignore[operator]

    def update(self, outputs: Any, batch: Any) -> None:
        """Add one batch; ``outputs`` have a leading dimension over all rows."""
        for run, row in self._rows.items():
            metrics = self.collections[run]
            assert isinstance(metrics, MetricCollection)
            of_run = pytree.tree_map(operator.itemgetter(row), outputs)
            self._tasks[run].measure_all(metrics, of_run, batch)

    def compute(self) -> dict[int, dict[str, Tensor]]:
        """The metrics by name, for the number of every run that is alive."""
        return {run: self.collections[run].compute() for run in self._rows}  # type: ignore[operator]
