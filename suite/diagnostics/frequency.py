"""The loss on frequent and on rare classes (Kunstner et al. 2024; paper 2, Figures 6 and 7)."""

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
"""Smallest number of validation targets by default: about two hundred for each of ten equal groups."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frequency(Diagnostic):
    """Validation loss by frequency of the target class in the training data; tokens in language, labels in images.

    Quantities, by group, where group 1 has the most frequent classes: ``loss`` and ``perplexity`` on validation
    samples; ``share`` of their targets; ``batch_share`` of the targets in the step's batch; ``classes``, the number of
    classes in the group, at the first measurement alone.

    Attributes:
        groups: number of groups, each with about the same number of training targets.
        samples: number of validation samples, from the first on; None: `SAMPLES`, or more if they have fewer than
            `TARGETS` targets, as images do.
    """

    groups: int = dataclasses.field(default=10, metadata={"at_least": 2})
    samples: int | None = dataclasses.field(default=None, metadata={"at_least": 1})

    def refuse(self, data: Data) -> None:
        """Refuse data without classes; see `Diagnostic.refuse`."""
        data.class_counts()

    def measure(self, moment: Moment) -> Values:
        """The quantities of every group.

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
        """The loss and the class of every target of the validation samples, each ``[n]``."""
        most = moment.data.val_samples
        count = min(self.samples or SAMPLES, most)
        losses, classes = self._losses_of(moment, 0, count)
        if self.samples is None and len(losses) < TARGETS and count < most:
            stop = min(-(-TARGETS * count // len(losses)), most)
            more_losses, more_classes = self._losses_of(moment, count, stop)
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

        targets = torch.cat(list(map(classes, moment.micro_batches)))
        numbers = moment.over_processes(torch.bincount(group_of[targets], minlength=self.groups))
        return numbers / numbers.sum()

    def _labelled(self, quantity: str, values: Tensor) -> Values:
        return {(quantity, f"{group + 1}"): values[group] for group in range(self.groups)}


def groups_by_frequency(counts: np.ndarray, groups: int) -> np.ndarray:
    """Assign classes to groups, so that each group has about the same number of training samples.

    Classes are sorted by frequency and divided at equal shares of the samples (Kunstner et al. 2024, Figure 1; paper 2,
    Figures 6 and 7: ten groups of 10%). A class that is more frequent than a group's share leaves other groups empty;
    classes that do not occur in the training data are in the last group.

    Args:
        counts: number of training samples of each class, int ``[K]``.
        groups: number of groups.

    Returns:
        The group of each class, int64 ``[K]``: 0 for the most frequent classes, ``groups - 1`` for the rarest.
    """
    order = np.argsort(-counts, kind="stable")
    shares = counts[order] / counts.sum()
    middles = np.cumsum(shares) - shares / 2
    groups_of = np.empty(len(counts), dtype=np.int64)
    groups_of[order] = np.minimum((middles * groups).astype(np.int64), groups - 1)
    return groups_of


def mean_by_group(values: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean and the number of the values in each group.

    Args:
        values: values, ``[n]``.
        groups: the group of each value, int64 ``[n]``.
        count: number of groups.

    Returns:
        Means and numbers, ``[count]`` each; the mean of an empty group is NaN.
    """
    numbers = torch.bincount(groups, minlength=count)
    return torch.bincount(groups, values.double(), count) / numbers, numbers
