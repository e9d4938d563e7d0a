"""The parts of a sweep: its panels with the settings that they share filled in."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from suite.fields import ConfigError
from suite.sweep.branching import branch_panels
from suite.sweep.panel import Branches, Panel, PanelSettings, varied_panels

TITLE = "label"
"""Setting of an optimizer that names it for people: it is no setting of the optimizer, and no run depends on it."""

Part = TypeVar("Part", bound=Branches)


def parts_of(label: str, settings: PanelSettings, shared: PanelSettings) -> Iterator[Panel]:
    """The parts that one panel of a sweep's YAML makes: one, or one per varied setting, trunk and branch point.

    Args:
        label: the panel's name; empty for a sweep without panels.
        settings: what the panel gives.
        shared: the sweep's own settings.

    Raises:
        ConfigError: there are branches and no trunk, or no trunk can be made of the settings.
    """
    panel = Panel(
        label=label,
        task=settings.task or shared.task or "",
        batch_size=settings.batch_size or shared.batch_size or [],
        optimizers=untitled(_merged_optimizers(shared.optimizers or {}, settings.optimizers or {})),
        overrides={**(shared.overrides or {}), **(settings.overrides or {})},
        final_loss=settings.final_loss or shared.final_loss or "ema",
        target=shared.target if settings.target is None else settings.target,
    )
    trunk, branches = _merged(shared.trunk, settings.trunk), _merged(shared.branches, settings.branches)
    if branches and not trunk:
        raise ConfigError("branches need a trunk, got branches without a trunk; add trunk.")
    vary = {**(shared.vary or {}), **(settings.vary or {})}
    varied = varied_panels(panel, vary) if vary else [panel]
    branching = [branch_panels(one, trunk, branches or Branches()) if trunk else [one] for one in varied]
    return itertools.chain(*branching)


def untitled(optimizers: Mapping[str, Any]) -> dict[str, Any]:
    """Optimizers' settings without what they are called."""
    return {
        label: {name: value for name, value in values.items() if name != TITLE} if isinstance(values, dict) else values
        for label, values in optimizers.items()
    }


def _merged_optimizers(shared: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        label: {**(shared.get(label) or {}), **(changes.get(label) or {})}
        for label in dict.fromkeys([*shared, *changes])
        if label not in changes or changes[label] is not None
    }


def _merged(shared: Part | None, panel: Part | None) -> Part | None:
    """A panel's trunk or branches: those of the sweep, with the settings that the panel gives."""
    if shared is None or panel is None:
        return panel or shared
    changes = {name: value for name, value in vars(panel).items() if value is not None}
    if "overrides" in changes:
        changes["overrides"] = {**(shared.overrides or {}), **changes["overrides"]}
    if "optimizers" in changes:
        changes["optimizers"] = _merged_optimizers(getattr(shared, "optimizers", None) or {}, changes["optimizers"])
    return dataclasses.replace(shared, **changes)
