"""Branching in a sweep's YAML: trunks that keep weights on their way, and branches that go on from them.

::

    trunk:
      optimizers: {adam: {lr: 1.0e-3, beta: 0.95}, sgd: {lr: 0.3, momentum: 0.95}}
      schedule: constant
      checkpoints: [0.1, 0.25, 0.5]
    branches: {schedule: linear}

Every optimizer of ``trunk`` trains the task once per batch size and seed and keeps its weights after the shares
``checkpoints`` of its steps. From each the sweep's own optimizers start anew, tuned per branch point, on the data that
the trunk has not seen, for what is left of the budget. A schedule given here has no warm-up unless it says so.
``overrides`` of either change settings of the task for trunks or for branches alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from suite.fields import nearest
from suite.optim.schedule import resolve_schedule
from suite.sweep.grid import read_axis
from suite.sweep.panel import Branch, Panel

_KEYS = {"trunk": ("optimizers", "schedule", "checkpoints", "overrides"), "branches": ("schedule", "overrides")}
_SCHEDULES = {"trunk": "constant", "branches": "linear"}


def check_keys(where: str, content: Mapping[str, Any]) -> None:
    """Check the form of what a sweep or a panel says of ``trunk`` and ``branches``.

    Raises:
        ValueError: a key is unknown, or not a mapping where one belongs.
    """
    for part, known in _KEYS.items():
        given = content.get(part, {})
        if not isinstance(given, dict):
            raise ValueError(f"{part} in {where} must be a mapping with {', '.join(known)}, got {given!r:.60}.")
        for key in given:
            if key not in known:
                raise ValueError(
                    f"{part} in {where} has a key {key!r} that it does not know{nearest(str(key), known)}."
                )
        for key in {"optimizers", "overrides"} & set(given):
            if not isinstance(given[key], dict) or not all(isinstance(name, str) for name in given[key]):
                raise ValueError(f"{part}.{key} in {where} must be a mapping, got {given[key]!r:.60}.")
        for label, settings in given.get("optimizers", {}).items():
            if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
                raise ValueError(f"{part}.optimizers.{label} in {where} must be a mapping from settings to values.")


def merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What a panel's ``trunk`` or ``branches`` is: the sweep's, changed by its own key by key."""
    both: dict[str, Any] = {**shared, **own}
    if "overrides" in both:
        both["overrides"] = {**shared.get("overrides", {}), **own.get("overrides", {})}
    if "optimizers" in both:
        first, second = shared.get("optimizers", {}), own.get("optimizers", {})
        both["optimizers"] = {k: {**first.get(k, {}), **second.get(k, {})} for k in dict.fromkeys([*first, *second])}
    return both


def check_branching(where: str, trunk: Mapping[str, Any], branches: Mapping[str, Any], sizes: list[int]) -> None:
    """Check the trunk and branches of one panel, filled in.

    Raises:
        ValueError: something is missing, or no trunk can be made of it.
    """
    if not trunk:
        if branches:
            raise ValueError(f"{where} has branches without a trunk; add trunk, with optimizers and checkpoints.")
        return
    shares = trunk.get("checkpoints")
    right = isinstance(shares, list) and all(isinstance(share, int | float) and 0 < share < 1 for share in shares)
    if not right or not shares or sorted(set(shares)) != shares:
        raise ValueError(
            f"trunk.checkpoints in {where} must list ascending shares of the budget between 0 and 1, got "
            f"{shares!r:.60}."
        )
    if not trunk.get("optimizers"):
        raise ValueError(f"{where} must name at least one optimizer under trunk.optimizers.")
    for label, settings in trunk["optimizers"].items():
        for name, given in settings.items():
            axes = [read_axis(f"trunk.optimizers.{label}.{name}", given, size) for size in sizes]
            if any(axis is not None and len(axis.values) > 1 for axis in axes):
                raise ValueError(
                    f"trunk.optimizers.{label}.{name} in {where} must be one value, because a trunk is not tuned, got "
                    f"{given!r:.60}."
                )
    for part, given in (("trunk", trunk), ("branches", branches)):
        try:
            _schedule(part, given)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{part}.schedule in {where}: {' '.join(str(error).split())}") from error


def branch_panels(panel: Panel, trunk: Mapping[str, Any], branches: Mapping[str, Any]) -> Iterator[Panel]:
    """The panels of trunks and branch points that one panel of the YAML stands for, each trunk before its branches."""
    for optimizer, settings in trunk["optimizers"].items():
        label = ", ".join(filter(None, [panel.label, f"{optimizer} trunk"]))
        yield Panel(
            label=label,
            task=panel.task,
            batch_size=panel.batch_size,
            optimizers={optimizer: settings},
            overrides=_overrides(panel, "trunk", trunk),
            final_loss=panel.final_loss,
            checkpoints=tuple(trunk["checkpoints"]),
        )
        for share in trunk["checkpoints"]:
            yield Panel(
                label=f"{label}, {100 * share:g}%",
                task=panel.task,
                batch_size=panel.batch_size,
                optimizers=panel.optimizers,
                overrides=_overrides(panel, "branches", branches),
                final_loss=panel.final_loss,
                branch=Branch(of=panel.label, trunk=label, optimizer=optimizer, share=share),
            )


def kept_steps(shares: tuple[float, ...], steps: int) -> tuple[int, ...]:
    """The steps of a trunk after which its weights are kept.

    Raises:
        ValueError: two shares fall on one step, or one on none.
    """
    kept = tuple(int(share * steps + 1e-9) for share in shares)
    if 0 in kept or len(set(kept)) < len(kept):
        raise ValueError(
            f"trunk.checkpoints must fall on different steps from 1 up, got {list(shares)} of {steps} steps; change "
            "them or raise the budget."
        )
    return kept


def _overrides(panel: Panel, part: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {**panel.overrides, **given.get("overrides", {}), "model.schedule": _schedule(part, given)}


def _schedule(part: str, given: Mapping[str, Any]) -> dict[str, Any]:
    schedule = given.get("schedule", _SCHEDULES[part])
    if isinstance(schedule, str):
        schedule = {"name": schedule}
    if not isinstance(schedule, dict):
        raise ValueError(f"it must be a schedule's name, or a mapping with name and settings, got {schedule!r:.60}.")
    return resolve_schedule(schedule if "class_path" in schedule else {"warmup_share": 0.0, **schedule})
