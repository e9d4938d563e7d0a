"""Classes (tokens, labels) in groups by how frequent they are in training data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


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
    sums = torch.zeros(count, dtype=torch.float64, device=values.device)
    sums.index_add_(0, groups, values.double())
    numbers = torch.bincount(groups, minlength=count)
    return sums / numbers, numbers
