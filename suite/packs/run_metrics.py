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
        self._places: dict[int, int] = {}
        self.collections = nn.ModuleList(
            MetricCollection({"loss": MeanMetric(), **tasks[0].metrics(facts)}, prefix="val/", compute_groups=False)
            for _ in tasks
        )

    def begin(self, rows: Tensor, alive: Tensor) -> None:
        """Forget what was measured, and measure the living from now on.

        Args:
            rows: number of the run in each place, int64 ``[R]``.
            alive: which of them go on, bool ``[R, 1]``.
        """
        places = zip(rows.tolist(), alive.flatten().tolist(), strict=True)
        self._places = {row: place for place, (row, lives) in enumerate(places) if lives}
        for metrics in self.collections:
            metrics.reset()  # type: ignore[operator]

    def update(self, outputs: Any, batch: Any) -> None:
        """Measure one batch, of which the runs in all places have ``outputs``."""
        for row, place in self._places.items():
            task, metrics = self._tasks[row], self.collections[row]
            mine = _of_place(outputs, place)
            total, count = task.loss(mine, batch)
            assert isinstance(metrics, MetricCollection)
            metrics["loss"].update(total / count, weight=count)
            task.measure({k.removeprefix("val/"): m for k, m in metrics.items()}, mine, batch, total, count)

    def compute(self) -> dict[int, dict[str, Tensor]]:
        """Metrics by name, of every run that goes on, by its number."""
        return {row: self.collections[row].compute() for row in self._places}  # type: ignore[operator]


def _of_place(outputs: Any, place: int) -> Any:
    if isinstance(outputs, Tensor):
        return outputs[place]
    if hasattr(outputs, "_fields"):
        return type(outputs)(*(_of_place(part, place) for part in outputs))
    return type(outputs)(_of_place(part, place) for part in outputs)
