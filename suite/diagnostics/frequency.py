"""Who learns the rare classes? (Kunstner et al. 2024; paper 2, Figures 6 and 7)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from suite.diagnostics.diagnostic import Diagnostic, Values
from suite.diagnostics.moment import Moment
from suite.diagnostics.probe import chunks
from suite.training.data import Data

SAMPLES = 64
TARGETS = 2_048
"""Validation targets that ten groups need at least: some two hundred each where they are equally common there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frequency(Diagnostic):
    """Validation loss by frequency of the target class in the training data; tokens in language, labels in images.

    Quantities, by group, 1 for the most frequent classes: ``loss`` and ``perplexity`` over validation samples and
    ``share`` of these; ``batch_share`` of the step's batch; ``classes``, how many classes the group has, at the first
    measurement alone.

    Attributes:
        groups: of about equally many training samples each.
        samples: validation samples, the first ones; None: `SAMPLES`, or as many as hold `TARGETS` targets where that is
            more, as with images, which have one each.
    """

    groups: int = dataclasses.field(default=10, metadata={"at_least": 2})
    samples: int | None = dataclasses.field(default=None, metadata={"at_least": 1})

    def refuse(self, data: Data) -> None:
        """Data without classes."""
        data.class_counts()

    def measure(self, moment: Moment) -> Values:
        """The loss of every group.

        Raises:
            ValueError: the task has no classes.
        """
        values: Values = {}
        if "groups" not in moment.memory:
            counts = moment.data.class_counts()
            moment.memory["groups"] = torch.from_numpy(groups_by_frequency(counts, self.groups))
            sizes = torch.bincount(moment.memory["groups"], minlength=self.groups)
            values |= self._labelled("classes", sizes)
        group_of = moment.memory["groups"].to(moment.device)
        moment.network.eval()
        losses, classes = self._losses(moment)
        means, numbers = mean_by_group(losses, group_of[classes], self.groups)
        values |= self._labelled("loss", means) | self._labelled("perplexity", means.exp())
        values |= self._labelled("share", numbers / numbers.sum())
        if moment.micro_batches:
            values |= self._labelled("batch_share", self._batch_share(moment, group_of))
        return values

    def _losses(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Loss and class of every target of the validation samples, flat."""
        most = moment.data.val_samples
        count = min(self.samples or SAMPLES, most)
        losses, classes = self._losses_of(moment, 0, count)
        if self.samples is None and len(losses) < TARGETS and count < most:
            wanted = min(-(-TARGETS * count // len(losses)), most)
            more_losses, more_classes = self._losses_of(moment, count, wanted)
            losses, classes = torch.cat([losses, more_losses]), torch.cat([classes, more_classes])
        return losses, classes

    def _losses_of(self, moment: Moment, start: int, stop: int) -> tuple[Tensor, Tensor]:
        numbers = np.arange(start, stop)
        with torch.no_grad():
            parts = [
                moment.task.element_losses(batch)
                for batch in chunks(moment.task, moment.data, numbers, split_name="val")
            ]
        return torch.cat([loss.flatten() for loss, _ in parts]), torch.cat([classes.flatten() for _, classes in parts])

    def _batch_share(self, moment: Moment, group_of: Tensor) -> Tensor:
        def classes(batch: Any) -> Tensor:
            return moment.task.element_classes(move_data_to_device(batch, moment.device)).flatten()

        seen = torch.cat(list(map(classes, moment.micro_batches)))
        numbers = moment.over_processes(torch.bincount(group_of[seen], minlength=self.groups))
        return numbers / numbers.sum()

    def _labelled(self, quantity: str, values: Tensor) -> Values:
        return {(quantity, f"{group + 1}"): values[group] for group in range(self.groups)}


def groups_by_frequency(counts: np.ndarray, groups: int) -> np.ndarray:
    """Group of every class, so that each group holds about the same number of training samples.

    Classes are sorted by frequency and cut at equal shares of the samples (Kunstner et al. 2024, Figure 1; paper 2,
    Figures 6 and 7: ten groups of 10%). A class that is more frequent than a group's share makes groups empty; classes
    that training data lack are in the last group.

    Args:
        counts: training samples of each class, int ``[K]``.
        groups: number of groups.

    Returns:
        int64 ``[K]``: 0 for the most frequent classes, ``groups - 1`` for the rarest.
    """
    order = np.argsort(-counts, kind="stable")
    shares = counts[order] / counts.sum()
    middles = np.cumsum(shares) - shares / 2
    groups_of = np.empty(len(counts), dtype=np.int64)
    groups_of[order] = np.minimum((middles * groups).astype(np.int64), groups - 1)
    return groups_of


def mean_by_group(values: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean of the values of each group, and how many there are.

    Args:
        values: ``[n]``.
        groups: int64 ``[n]``.
        count: number of groups.

    Returns:
        ``[count]`` each; the mean of no value is NaN.
    """
    numbers = torch.bincount(groups, minlength=count)
    return torch.bincount(groups, values.double(), count) / numbers, numbers
