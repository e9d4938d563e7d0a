"""The definitions of a grid's tuned point and of the grid's edge, for plain values.

The sweep uses them to extend a grid and the analysis to compare optimizers, so that the two always agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, NamedTuple

Setting = tuple[tuple[str, Any], ...]
"""The value on every axis of a grid as ``(axis, value)`` pairs, sorted; see `setting_of`."""

Side = Literal["low", "high"]

LARGEST_SEED = 2**32 - 1

MARGIN = 0.5
"""Percent of the reference's loss within which two optimizers are level, where a sweep names no other."""


class Trial(NamedTuple):
    """One run of the grid of one task, optimizer and batch size.

    Attributes:
        setting: see `setting_of`.
        seed: seed of initial weights and data order.
        loss: final loss; infinite if the run diverged, NaN if it has no result.
        reporting: whether the run repeats a chosen setting with another seed, for the reported loss.
        diagnosing: whether the run repeats a chosen setting with diagnostics.
    """

    setting: Setting
    seed: int
    loss: float
    reporting: bool = False
    diagnosing: bool = False

    @property
    def counts_in_tuning(self) -> bool:
        """Whether the run's loss counts in choosing a setting; a run that was made after the choice does not count."""
        return not (self.reporting or self.diagnosing)


def setting_of(axes: Mapping[str, Any]) -> Setting:
    """The values of a run on the grid's axes as one hashable value, independent of their order."""
    return tuple(sorted((name, hashable(value)) for name, value in axes.items()))


def ranked(trials: Iterable[Trial]) -> list[Setting]:
    """The settings by ascending loss, the tuned point first.

    Settings are compared by their mean loss over the seeds that all of them have. Where more than half of them, or the
    first and another, have one more seed in common, these alone are then compared over all the seeds that they share,
    and so on: a setting gains or loses nothing by a seed that no other has, and one that lacks a seed of most others
    does not win for it. A setting of which a seed diverged is left out, equal losses keep their order, and of several
    trials with one setting and seed the first counts. If every setting diverged, the one with the smallest values (of
    the learning rate first) is returned, so that a grid grows towards stability.
    """
    losses: dict[Setting, dict[int, float]] = {}
    for trial in trials:
        if trial.counts_in_tuning and not math.isnan(trial.loss):
            losses.setdefault(trial.setting, {}).setdefault(trial.seed, trial.loss)
    finite = {setting: seeds for setting, seeds in losses.items() if all(map(math.isfinite, seeds.values()))}
    if not finite:
        return sorted(losses, key=_smallness)[:1]
    order: list[Setting] = []
    contenders = list(finite)
    while contenders:
        shared = set.intersection(*(set(finite[setting]) for setting in contenders))
        contenders.sort(key=lambda setting: _mean_over(finite[setting], shared))
        order = contenders + [setting for setting in order if setting not in contenders]
        contenders = _sharing_more(contenders, finite, shared)
    return order


def _mean_over(losses: Mapping[int, float], shared: Set[int]) -> float:
    """Mean over the shared seeds, or where the settings share none, over the setting's own."""
    counted = [loss for seed, loss in losses.items() if seed in shared or not shared]
    return sum(counted) / len(counted)


def _sharing_more(
    contenders: Sequence[Setting], losses: Mapping[Setting, Mapping[int, float]], shared: Set[int]
) -> list[Setting]:
    """The settings with one more seed in common, the one that most have; none where only a few others have one."""
    further = sorted({seed for setting in contenders for seed in losses[setting]} - shared)
    having = [[setting for setting in contenders if seed in losses[setting]] for seed in further]
    enough = [some for some in having if len(some) > 1 and (contenders[0] in some or 2 * len(some) > len(contenders))]
    return max(enough, key=len, default=[])


def edge(value: Any, values: Sequence[Any]) -> Side | None:
    """The end of an axis at which a value lies, if any.

    None for values that are not numbers, for an axis with one value, and for zero, below which no value is tried.

    Args:
        value: one of ``values``.
        values: every value that was tried, ascending.
    """
    if not is_ordered(values) or len(values) < 2 or value == 0:
        return None
    return "low" if value == values[0] else "high" if value == values[-1] else None


def edges(setting: Setting, tried: Iterable[Setting]) -> list[tuple[str, Side]]:
    """The axes at whose ends a setting lies, each with its side.

    Args:
        setting: the setting of the tuned point.
        tried: every setting that has a result.
    """
    chosen = dict(setting)
    sides = ((name, edge(chosen.get(name), values)) for name, values in axes_of(tried))
    return [(name, side) for name, side in sides if side is not None]


def axes_of(settings: Iterable[Setting]) -> Iterator[tuple[str, list[Any]]]:
    """Every axis of a grid with its distinct values, numbers in ascending order."""
    values: dict[str, set[Any]] = {}
    for setting in settings:
        for name, value in setting:
            values.setdefault(name, set()).add(value)
    for name, different in values.items():
        yield name, sorted(different, key=None if is_ordered(different) else str)


def is_ordered(values: Iterable[Any]) -> bool:
    """Whether all values are numbers, so that the axis has ends."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _smallness(setting: Setting) -> list[float]:
    by_rate = sorted(setting, key=lambda axis: (axis[0].rpartition(".")[2] != "lr", axis[0]))
    return [value if is_ordered([value]) else 0 for _, value in by_rate]


TIMES = ("half_life_tokens", "half_life_samples", "time_scale_tokens", "time_scale_samples")
"""Last names of settings that a sweep gives as a time; see `suite.sweep.time_scales`."""


def is_momentum(name: str) -> bool:
    """Whether a setting is the decay of an average, which is laid out in one minus its value; tau is AdaVar's."""
    return name.rpartition(".")[2].startswith(("momentum", "beta", "tau"))


def is_time(name: str) -> bool:
    """Whether a setting is a half-life or a time scale."""
    return name.rpartition(".")[2] in TIMES


def setting_of_axis(name: str) -> str:
    """The setting that an axis sets: ``beta2`` of ``beta2.half_life_tokens``, else the axis itself."""
    return name.rpartition(".")[0] if is_time(name) else name


def hashable(value: Any) -> Any:
    """A plain value as one that sets take; equal values stay equal."""
    if isinstance(value, list | tuple):
        return tuple(hashable(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted((str(key), hashable(item)) for key, item in value.items()))
    return value
