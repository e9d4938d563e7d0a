"""Settings that a sweep is not to train: given in its YAML, named in its report.

::

    skip:
      - {optimizer: sgd, lr: 3.16}                                   # everywhere
      - {optimizer: adam, batch_size: [1, 4], lr: 0.1, beta: 0.999}  # there alone

An entry matches the settings that agree with all it says: ``panel`` and ``optimizer`` by their labels in the sweep,
``batch_size``, and the values on the axes of grids; a list is any of its values. Numbers agree if they are the
same to the digits that are typed, three at least, so that 3.16 means a grid's 3.16228.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from suite.fields import ConfigError, nearest
from suite.sweep.grid import Axis, read_axes
from suite.sweep.panel import Panel
from suite.sweep.planned_run import GroupKey
from suite.sweep.time_scales import with_times

Entry = Mapping[str, Any]

_OF_THE_GROUP = ("panel", "optimizer", "batch_size")

_LEAST_DIGITS = 3

_LARGEST = 1e300
"""No grid has larger values."""


def is_skipped(skip: Iterable[Entry], key: GroupKey, setting: Mapping[str, Any]) -> bool:
    """Whether a setting of a group is not to be trained.

    Args:
        skip: the entries of the YAML.
        key: of the group.
        setting: axis -> value.
    """
    return any(_matches(entry, {**key._asdict(), **setting}) for entry in skip)


def settings_of_grid(axes: Mapping[str, Axis], skip: Sequence[Entry], key: GroupKey) -> list[dict[str, Any]]:
    """Every setting of a group's grid by its values on the axes, without those that the sweep skips.

    Args:
        axes: the grid's.
        skip: the entries of the YAML.
        key: of the group.
    """
    crossed = itertools.product(*(axis.values for axis in axes.values()))
    settings = (dict(zip(axes, values, strict=True)) for values in crossed)
    return [setting for setting in settings if not is_skipped(skip, key, setting)]


def entries_about(skip: Sequence[Entry], panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """The entries that match a setting of some panels; those of the other panels of a sweep match none."""
    if not skip:
        return []
    settings = [
        (key, setting)
        for panel in panels
        for optimizer, values in panel.optimizers.items()
        for size in panel.batch_size
        for key in [GroupKey(panel.label, optimizer, size)]
        for setting in settings_of_grid(read_axes(with_times(values), size), (), key)
    ]
    return [dict(entry) for entry in skip if any(is_skipped([entry], key, setting) for key, setting in settings)]


def check_skip(skip: Sequence[Entry], settings: Mapping[GroupKey, Sequence[Mapping[str, Any]]]) -> None:
    """Refuse entries that match nothing, and those that leave nothing of a group.

    Args:
        skip: the entries of the YAML.
        settings: group -> all settings of its grid.

    Raises:
        ConfigError: there is one; the message says which.
    """
    for entry in skip:
        names = {name for grid in settings.values() for setting in grid for name in setting} | {*_OF_THE_GROUP}
        for name in entry:
            if name not in names:
                raise ConfigError(f"skip names {name!r}, which is no axis of a grid{nearest(str(name), names)}.")
        if not any(is_skipped([entry], key, setting) for key, grid in settings.items() for setting in grid):
            raise ConfigError(f"skip must name settings of the grids, got {dict(entry)!s:.120}, which matches none.")
    for key, grid in settings.items():
        if grid and all(is_skipped(skip, key, setting) for setting in grid):
            raise ConfigError(
                f"skip must leave a setting of every optimizer, got none of {key.label} at batch size "
                f"{key.batch_size}; take the optimizer or the batch size out of the sweep instead."
            )


def _matches(entry: Entry, setting: Mapping[str, Any]) -> bool:
    return all(name in setting and _agrees(value, setting[name]) for name, value in entry.items())


def _agrees(asked: Any, value: Any) -> bool:
    if isinstance(asked, list | tuple):
        return any(_agrees(item, value) for item in asked)
    if isinstance(value, float) and isinstance(asked, int | float) and not isinstance(asked, bool):
        if abs(asked) > _LARGEST:
            return False
        typed = f"{asked:.15g}".partition("e")[0].replace(".", "").lstrip("-0")
        digits = max(_LEAST_DIGITS, len(typed))
        return float(f"{value:.{digits}g}") == float(asked)
    return bool(asked == value)
