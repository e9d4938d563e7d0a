"""Conversion between dotted keys, ``{"head.lr": 1}``, and nested mappings, ``{"head": {"lr": 1}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def nested(settings: Mapping[str, Any], into: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Convert settings with dotted names to nested mappings.

    Args:
        settings: dotted name -> value; a later name overrides an earlier one.
        into: a nested mapping that ``settings`` override in the result; it is not changed itself.
    """
    tree = dict(into or {})
    for name, value in settings.items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            inner = branch.get(parent)
            branch[parent] = dict(inner) if isinstance(inner, Mapping) else {}
            branch = branch[parent]
        branch[last] = value
    return tree


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Convert nested mappings to dotted names; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat.update(flattened(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value})
    return flat
