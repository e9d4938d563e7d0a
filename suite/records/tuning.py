"""What is the tuned point of a grid, and does it lie on the grid's edge? The one definition, for plain values.

The sweep asks before it extends a grid, the analysis when it compares; both get the same answer here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Setting = tuple[tuple[str, Any], ...]
"""Values of a grid's axes as ``(axis, value)`` pairs, sorted; see `setting_of`."""

Side = Literal["low", "high"]


class Trial(NamedTuple):
    """One run of a grid: of one task, optimizer and batch size.

    Attributes:
        setting: see `setting_of`.
        loss: final loss; infinite when the run diverged, NaN without a result.
        reporting: whether it trains a chosen setting again, with another seed.
        diagnosing: whether it trains a chosen setting again, with diagnostics.
    """

    setting: Setting
    loss: float
    reporting: bool = False
    diagnosing: bool = False

    @property
    def has_a_say(self) -> bool:
        """Whether its loss counts in choosing: those of runs that were made after the choice do not."""
        return not (self.reporting or self.diagnosing)


def setting_of(axes: Mapping[str, Any]) -> Setting:
    """The tried values of a run as one hashable value, in whatever order they were written."""
    return tuple(sorted((name, _hashable(value)) for name, value in axes.items()))


def ranked(trials: Iterable[Trial]) -> list[Setting]:
    """The settings that compete, the tuned point's first.

    A setting's loss is the mean over its seeds, infinite when one of them diverged; equal losses keep the order of the
    trials. Settings with fewer results than others do not compete. Diverged settings have no rank; where all diverged,
    the smallest values (of the learning rate first) stand alone, so that a grid grows towards stability.
    """
    losses: dict[Setting, list[float]] = {}
    for trial in trials:
        if trial.has_a_say and not math.isnan(trial.loss):
            losses.setdefault(trial.setting, []).append(trial.loss)
    most = max(map(len, losses.values()), default=0)
    means = {setting: sum(seeds) / most for setting, seeds in losses.items() if len(seeds) == most}
    finite = [setting for setting, mean in means.items() if math.isfinite(mean)]
    return sorted(finite, key=means.__getitem__) if finite else sorted(means, key=_smallness)[:1]


def edge(value: Any, values: Sequence[Any]) -> Side | None:
    """The end of an axis that a value lies at.

    None for choices without an order, on an axis with one value, and at zero: nothing lies below.

    Args:
        value: one of ``values``.
        values: every value that was tried, ascending.
    """
    if not is_ordered(values) or len(values) < 2 or value == 0:
        return None
    return "low" if value == values[0] else "high" if value == values[-1] else None


def edges(setting: Setting, tried: Iterable[Setting]) -> list[tuple[str, Side]]:
    """The axes at whose end a setting lies, each with the side.

    Args:
        setting: the tuned point's.
        tried: every setting that has a result.
    """
    chosen = dict(setting)
    sides = ((name, edge(chosen.get(name), values)) for name, values in axes_of(tried))
    return [(name, side) for name, side in sides if side is not None]


def axes_of(settings: Iterable[Setting]) -> Iterator[tuple[str, list[Any]]]:
    """Every axis of a grid with its different values; numbers ascend."""
    values: dict[str, set[Any]] = {}
    for setting in settings:
        for name, value in setting:
            values.setdefault(name, set()).add(value)
    for name, different in values.items():
        yield name, sorted(different, key=None if is_ordered(different) else str)


def is_ordered(values: Iterable[Any]) -> bool:
    """Whether values are numbers, so that an axis has ends."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _smallness(setting: Setting) -> list[float]:
    by_rate = sorted(setting, key=lambda axis: (axis[0].rpartition(".")[2] != "lr", axis[0]))
    return [value if is_ordered([value]) else 0 for _, value in by_rate]


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted((str(key), _hashable(item)) for key, item in value.items()))
    return value
