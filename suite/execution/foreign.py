"""Finds classes that a store's record names and the user does not: they are never imported."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from suite.fields import field_types
from suite.optim.catalogue import LIBRARY
from suite.optim.registry import import_class

BUILT_IN = ("suite.", "torch.optim.")
"""Packages whose classes anybody may name."""

_SPECS = ("optimizer", "schedule", "diagnostics")
"""Settings of a task in which any text may be the dotted path of a class."""

_PLAIN = (str, int, float, bool, types.NoneType, Path, Any, Ellipsis)


def foreign_names(config: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[str]:
    """What in a configuration could have code imported that the user has not named.

    Args:
        config: ``model`` and ``data`` as a record holds them.
        base: the same of a configuration that was resolved from the user's own files and words.
    """
    allowed = {*_texts(base), *(entry.path for entry in LIBRARY.values())}
    for part in ("model", "data"):
        said = config.get(part)
        if not isinstance(said, dict) or not isinstance(said.get("init_args"), dict):
            yield f"{part}: {said}"
        elif said.get("class_path") != base[part]["class_path"]:
            yield str(said.get("class_path"))
        else:
            yield from _of_settings(said["init_args"], base[part], allowed)


def _of_settings(settings: Mapping[str, Any], base: Mapping[str, Any], allowed: set[str]) -> Iterator[str]:
    kinds = field_types(import_class(base["class_path"]))
    for name, value in settings.items():
        if name in _SPECS:
            dotted = (text for text in _texts(value) if "." in text and not text.startswith(BUILT_IN))
            yield from (text for text in dotted if text not in allowed)
            continue
        # A parser makes an object of a text or a mapping where the field's type is a class.
        may_import = not _is_plain(kinds.get(name)) or any("class_path" in text for text in _texts(value))
        if may_import and value != base["init_args"].get(name):
            yield f"{name}: {value}"


def _texts(value: Any) -> Iterator[str]:
    """Every text in plain values, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _is_plain(kind: Any) -> bool:
    """Whether values of a field's type are never made into objects of a class that they name."""
    if kind in _PLAIN or get_origin(kind) is Literal:
        return True
    containers = (types.UnionType, typing.Union, list, tuple, dict)
    return (kind in containers or get_origin(kind) in containers) and all(map(_is_plain, get_args(kind)))
