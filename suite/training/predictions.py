"""Writes what a network predicts on the validation split: a row per sample, with what there was to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from suite.records.files import explain, write_atomically
from suite.training.task import Task


class Predictions(Callback):
    """Collects the outputs of ``predict`` and writes them as one Parquet file.

    The table has a row per sample of the validation split, in stored order, with the columns ``sample`` (its number),
    ``prediction`` (a number, or a list where there is one per token) and, where the task predicts classes, ``target``.

    Args:
        path: the file; it is written when all is predicted.

    Attributes:
        columns: names of the columns that were written.
        samples: number of rows that were written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []
        self.samples = 0
        self._predicted: list[pa.Array] = []
        self._targets: list[pa.Array] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse several devices.

        Raises:
            ValueError: there are several, each of which would see a part of the split.
        """
        if trainer.world_size > 1:
            raise ValueError(
                f"predict writes one file on one device, got {trainer.world_size}; set --trainer.devices 1."
            )

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the outputs of a batch.

        Raises:
            ValueError: they are no tensor with a row per sample.
        """
        assert isinstance(pl_module, Task)
        if not isinstance(outputs, Tensor) or outputs.dim() == 0:
            raise ValueError(
                f"predict writes tensors with a row per sample, got a {type(outputs).__name__}; have predict_step of "
                f"{pl_module.pair_name} return one."
            )
        self._predicted.append(_rows(outputs))
        targets = _classes(pl_module, batch)
        if targets is not None and len(targets) == len(outputs):
            self._targets.append(_rows(targets))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the table.

        Raises:
            ValueError: it cannot be written there.
        """
        predicted = pa.chunked_array(self._predicted)
        columns = {"sample": pa.array(range(len(predicted)), pa.int64()), "prediction": predicted}
        if len(self._targets) == len(self._predicted):
            columns["target"] = pa.chunked_array(self._targets)
        table = pa.table(columns)
        try:
            write_atomically(self.path, lambda temporary: pq.write_table(table, temporary))
        except OSError as error:
            raise ValueError(f"{self.path} cannot be written ({explain(error)}); give another --out.") from error
        self.columns, self.samples = table.column_names, len(table)


def _classes(task: Task, batch: Any) -> Tensor | None:
    """The true classes of a batch; None for a task that predicts no classes."""
    try:
        return task.element_classes(batch)
    except ValueError:
        return None


def _rows(values: Tensor) -> pa.Array:
    """A tensor as one item per row: a number, or lists within lists."""
    values = values.detach().cpu()
    if values.is_floating_point():
        values = values.float()
    if values.dim() > 1 and values[0].numel() == 1:
        values = values.flatten()
    array = pa.array(values.flatten().numpy())
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array
