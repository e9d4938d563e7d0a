"""Where settings lie on the axes on which the final loss is smooth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.records.tuning import hashable, is_momentum, is_ordered


class Trade(NamedTuple):
    """A learning rate and the momentum of the same optimizer, ``adam.lr`` and ``adam.beta``.

    Attributes:
        rate, momentum: numbers of their axes.
        size: by how much the rate's coordinate has to fall where the momentum's grows by one, so that
            ``lr / (1 - momentum)``, the length of a step along a steady gradient, stays the same.
    """

    rate: int
    momentum: int
    size: float


class Space:
    """The coordinates of the settings of one optimizer.

    Numbers come first, an axis each: positive values at their logarithm, momenta and betas at that of ``1 - value``,
    zero a step below the smallest positive value, and axes with negative values as they are. The values that an axis
    has to begin with reach from -1 to 1; later ones may lie outside. A choice has a column per value. So has the group,
    the optimizer at one batch size: other batch sizes are like the first, but not the same.

    Args:
        axes: the values of every axis.
        groups: number of groups.

    Attributes:
        numbers: number of axes of numbers.
        groups: number of groups.
        has_groups: whether there are several; their columns are the last.
        kinds: for every column the number of its axis; a choice's columns share one, and so do the groups'.
        trades: the pairs of a learning rate and a momentum.
    """

    def __init__(self, axes: Mapping[str, Sequence[Any]], *, groups: int = 1) -> None:
        self._numbers = {name: _Scale(name, values) for name, values in axes.items() if is_ordered(values)}
        self._choices = {n: [hashable(v) for v in values] for n, values in axes.items() if n not in self._numbers}
        self.groups = groups
        self.numbers = len(self._numbers)
        columns = [len(values) for values in self._choices.values()] + ([groups] if groups > 1 else [])
        self.has_groups = groups > 1
        self.kinds = [*range(self.numbers)]
        for axis, count in enumerate(columns, start=self.numbers):
            self.kinds += [axis] * count
        self.trades = tuple(self._trades())

    def at(self, settings: Sequence[Mapping[str, Any]], *, group: int = 0) -> np.ndarray:
        """Coordinates of settings of one group, ``[settings, columns]``.

        Args:
            settings: with a value for every axis.
            group: number of their group.
        """
        parts = [scale.at([setting[name] for setting in settings])[:, None] for name, scale in self._numbers.items()]
        for name, values in self._choices.items():
            chosen = [hashable(setting[name]) for setting in settings]
            parts.append(np.array([[float(value == one) for one in values] for value in chosen]))
        if self.groups > 1:
            parts.append(np.tile(np.eye(self.groups)[group], (len(settings), 1)))
        shaped = [part.reshape(len(settings), -1) for part in parts]
        return np.concatenate([np.zeros((len(settings), 0)), *shaped], axis=1)

    def _trades(self) -> Iterator[Trade]:
        names = list(self._numbers)
        for number, (name, scale) in enumerate(self._numbers.items()):
            prefix, dot, _ = name.rpartition(".")
            rate = f"{prefix}{dot}lr"
            if scale.is_momentum and rate in names and self._numbers[rate].is_log:
                yield Trade(names.index(rate), number, scale.half / self._numbers[rate].half)


class _Scale:
    """The coordinate of one axis of numbers."""

    def __init__(self, name: str, values: Sequence[float]) -> None:
        self.is_momentum = is_momentum(name) and all(0 <= value < 1 for value in values)
        positive = sorted(value for value in values if value > 0)
        self.is_log = not self.is_momentum and bool(positive) and min(values) >= 0
        self._zero = 0.0
        if self.is_log:
            step = math.log10(positive[1] / positive[0]) if len(positive) > 1 else 1.0
            self._zero = math.log10(positive[0]) - step
        raw = self._raw(values)
        self._middle = (raw.max() + raw.min()) / 2
        self.half = float(raw.max() - raw.min()) / 2 or 1.0

    def at(self, values: Sequence[float]) -> np.ndarray:
        result: np.ndarray = (self._raw(values) - self._middle) / self.half
        return result

    def _raw(self, values: Sequence[float]) -> np.ndarray:
        array = np.array(values, dtype=float)
        if self.is_momentum:
            return -np.log10(1 - array)
        if self.is_log:
            return np.where(array > 0, np.log10(np.where(array > 0, array, 1.0)), self._zero)
        return array
