"""Regression of one number per sample: the loss and the metrics of every such task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanSquaredError, Metric

from suite.training import Task


class Regression(Task):
    """Absolute error. A batch has ``target``, float ``[samples]``; the network gives as many numbers."""

    def loss(self, outputs: Tensor, batch: Any) -> tuple[Tensor, int]:
        """Absolute error, summed over the samples, and their number."""
        return F.l1_loss(outputs.float(), batch.target, reduction="sum"), batch.target.numel()

    def metrics(self, facts: dict[str, Any]) -> dict[str, Metric]:
        """Root of the mean squared error, beside the loss, which is the mean absolute error."""
        return {"rmse": MeanSquaredError(squared=False)}

    def measure(self, metrics: Mapping[str, Metric], outputs: Tensor, batch: Any, total: Tensor, count: int) -> None:
        """Update the metrics with one batch."""
        metrics["rmse"].update(outputs.float(), batch.target)
