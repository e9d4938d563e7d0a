"""Dotted keys to a tree and back: ``{"head.lr": 1}`` and ``{"head": {"lr": 1}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def nested(settings: Mapping[str, Any], into: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings with dotted names as nested mappings.

    Args:
        settings: dotted name -> value; a later name wins over an earlier one.
        into: a tree whose values are kept where ``settings`` does not change them; it stays as it is.
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
    """A tree as dotted names; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat.update(flattened(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value})
    return flat
