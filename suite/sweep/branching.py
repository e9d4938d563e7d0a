"""Branching in a sweep's YAML: trunks, which save weights during training, and branches, which start from them.

::

    trunk:
      optimizers: {adam: {lr: 1.0e-3, beta: 0.95}, sgd: {lr: 0.3, momentum: 0.95}}
      schedule: constant
      checkpoints: [0.1, 0.25, 0.5]
    branches: {schedule: linear}

Every optimizer of ``trunk`` trains the task once per batch size and seed, and saves its weights after the shares
``checkpoints`` of its steps. At each of these branch points the sweep's optimizers start anew: they are tuned per
branch point, and train on the data after that step, for the rest of the budget. A schedule given here has no warm-up
unless it sets one. ``overrides`` of ``trunk`` or ``branches`` change settings of the task for these runs alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from suite.fields import ConfigError, require
from suite.optim.schedule import resolve_schedule
from suite.sweep.grid import read_axis
from suite.sweep.panel import Branch, Branches, Panel, Trunk, refuse_overrides

SET_BY_BRANCHING = {
    "model.schedule": "schedule of trunk and branches",
    "model.keep_weights_at": "checkpoints of the trunk",
    "model.initial": "checkpoints of the trunk",
    "data.start_step": "checkpoints of the trunk",
}
"""Settings of the task that no override can change where there is a trunk -> what sets them."""


def branch_panels(panel: Panel, trunk: Trunk, branches: Branches) -> Iterator[Panel]:
    """The panels of the trunks and branch points of one panel of the YAML, each trunk before its branches.

    Raises:
        ConfigError: the trunk's checkpoints, optimizers or schedule are missing or wrong.
    """
    optimizers, shares = trunk.optimizers or {}, trunk.checkpoints or []
    if not shares or sorted(set(shares)) != shares:
        raise ConfigError(f"trunk.checkpoints must list ascending shares of the budget, got {shares!r:.60}.")
    if not optimizers:
        raise ConfigError("trunk.optimizers must name at least one optimizer, got none.")
    for part in (panel, trunk, branches):
        refuse_overrides(part.overrides or {}, SET_BY_BRANCHING)
    of_trunk = {**panel.overrides, **(trunk.overrides or {}), "model.schedule": _schedule(trunk, "constant")}
    of_branches = {**panel.overrides, **(branches.overrides or {}), "model.schedule": _schedule(branches, "linear")}
    for optimizer, settings in optimizers.items():
        _require_single(f"trunk.optimizers.{optimizer}", settings, panel.batch_size)
        label = ", ".join(filter(None, [panel.label, f"{optimizer} trunk"]))
        yield dataclasses.replace(
            panel, label=label, optimizers={optimizer: settings}, overrides=of_trunk, checkpoints=tuple(shares)
        )
        for share in shares:
            yield dataclasses.replace(
                panel,
                label=f"{label}, {100 * share:g}%",
                overrides=of_branches,
                branch=Branch(of=panel.label, trunk=label, optimizer=optimizer, share=share),
            )


def kept_steps(shares: tuple[float, ...], steps: int) -> tuple[int, ...]:
    """The steps of a trunk after which its weights are saved.

    Raises:
        ValueError: two shares fall on the same step, or one falls before the first step.
    """
    kept = tuple(int(share * steps + 1e-9) for share in shares)
    if 0 in kept or len(set(kept)) < len(kept):
        raise ValueError(
            f"trunk.checkpoints must fall on different steps from 1 up, got {list(shares)} of {steps} steps; change "
            "them or raise the budget."
        )
    return kept


def _require_single(where: str, settings: dict[str, Any], sizes: list[int]) -> None:
    for name, value in settings.items():
        axes = [read_axis(f"{where}.{name}", value, size) for size in sizes]
        single = all(axis is None or len(axis.values) == 1 for axis in axes)
        require(single, f"{where}.{name}", "one value, because a trunk is not tuned", value)


def _schedule(part: Trunk | Branches, default: str) -> dict[str, Any]:
    schedule = default if part.schedule is None else part.schedule
    named = {"name": schedule} if isinstance(schedule, str) else schedule
    try:
        return resolve_schedule(named if "class_path" in named else {"warmup_share": 0.0, **named})
    except ValueError as error:
        where = "trunk" if isinstance(part, Trunk) else "branches"
        raise ConfigError(f"{where}.schedule: {' '.join(str(error).split())}") from error
