"""Metrics of the validation split for runs that are evaluated at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from suite.training.task import Task


class RunMetrics(nn.Module):
    """One collection of metrics per run, fed from outputs with a leading run dimension.

    Args:
        tasks: one per run.
        facts: of the data.
    """

    def __init__(self, tasks: Sequence[Task], facts: dict[str, Any]) -> None:
        super().__init__()
        self._tasks = tuple(tasks)
        self._rows: dict[int, int] = {}
        self.collections = nn.ModuleList(
            MetricCollection({"loss": MeanMetric(), **tasks[0].metrics(facts)}, prefix="val/", compute_groups=False)
            for _ in tasks
        )

    def begin(self, rows: Tensor, alive: Tensor) -> None:
        """Forget what was measured, and measure the living from now on.

        Args:
            rows: number of the run in each row, int64 ``[R]``.
            alive: which of them go on, bool ``[R, 1]``.
        """
        runs = zip(rows.tolist(), alive.flatten().tolist(), strict=True)
        self._rows = {run: row for row, (run, lives) in enumerate(runs) if lives}
        for metrics in self.collections:
            metrics.reset()  # type: ignore[operator]

    def update(self, outputs: Any, batch: Any) -> None:
        """Measure one batch, of which the runs in all rows have ``outputs``."""
        for run, row in self._rows.items():
            task, metrics = self._tasks[run], self.collections[run]
            of_run = _in_row(outputs, row)
            total, count = task.loss(of_run, batch)
            assert isinstance(metrics, MetricCollection)
            metrics["loss"].update(total / count, weight=count)
            task.measure({k.removeprefix("val/"): m for k, m in metrics.items()}, of_run, batch, total, count)

    def compute(self) -> dict[int, dict[str, Tensor]]:
        """Metrics by name, of every run that goes on, by its number."""
        return {run: self.collections[run].compute() for run in self._rows}  # type: ignore[operator]


def _in_row(outputs: Any, row: int) -> Any:
    if isinstance(outputs, Tensor):
        return outputs[row]
    if hasattr(outputs, "_fields"):
        return type(outputs)(*(_in_row(part, row) for part in outputs))
    return type(outputs)(_in_row(part, row) for part in outputs)
