"""Dataclasses made strictly from plain values: known names, required names, types, ranges."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

from suite.fields.names import ConfigError, nearest

Settings = TypeVar("Settings")

_BOUNDS = {
    "at_least": (lambda value, bound: value >= bound, "at least {}"),
    "above": (lambda value, bound: value > bound, "above {}"),
    "at_most": (lambda value, bound: value <= bound, "at most {}"),
    "below": (lambda value, bound: value < bound, "below {}"),
}


def read(cls: type[Settings], values: Mapping[str, Any], *, name: str) -> Settings:
    """Make a dataclass from plain values, strictly.

    Args:
        cls: the dataclass; its own checks run as well.
        values: field values as YAML or the command line gives them; ``"1e-3"`` becomes a number where one belongs.
        name: what messages call it; empty where the fields' names say enough.

    Raises:
        ConfigError: a field is unknown, missing, of the wrong type or out of its range.
    """
    known = field_types(cls)
    for key in values:
        if key not in known:
            raise ConfigError(f"{name} has no setting {key!r}{nearest(str(key), known)}.")
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        required = f.init and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in values:
            raise ConfigError(f"{name} needs {f.name}, which has no default; set {f.name}.")
    typed = {key: read_value(value, known[key], _joined(name, key)) for key, value in values.items()}
    check_ranges(cls, typed, name=name)
    return cls(**typed)


def field_types(cls: type) -> dict[str, Any]:
    """Types of the fields that a dataclass is made from, in order."""
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def check_ranges(cls: type, values: Mapping[str, Any], *, name: str) -> None:
    """Hold numbers against the bounds in their fields' metadata; see `suite.fields`.

    Args:
        cls: a dataclass.
        values: field -> value; those of other names are passed over.
        name: what messages call the settings, such as ``model``.

    Raises:
        ConfigError: a number is out of its bounds, or no finite number.
    """
    for f in dataclasses.fields(cls):
        bounds = [key for key in f.metadata if key in _BOUNDS]
        if not bounds or f.name not in values:
            continue
        given = values[f.name]
        for value in given if isinstance(given, list | tuple) else [given]:
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue  # null, or a choice beside numbers such as auto
            if not math.isfinite(value):
                raise ConfigError(f"{_joined(name, f.name)} must be a finite number, got {given}.")
            if not all(_BOUNDS[key][0](value, f.metadata[key]) for key in bounds):
                expected = " and ".join(_BOUNDS[key][1].format(f.metadata[key]) for key in bounds)
                expected += ", or null" if type(None) in get_args(field_types(cls)[f.name]) else ""
                raise ConfigError(f"{_joined(name, f.name)} must be {expected}, got {given}.")


def read_value(value: Any, kind: Any, where: str) -> Any:
    """Read a plain value as a field of type ``kind``.

    Raises:
        ConfigError: it is not one.
    """
    origin = get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return _read_union(value, get_args(kind), where)
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise ConfigError(f"{where} must be one of {', '.join(map(str, get_args(kind)))}, got {value!r}.")
    if kind is float:
        return _number(value, where)
    if kind is int:
        number = value if type(value) is int else _number(value, where)
        if not math.isfinite(number) or number != int(number):
            raise ConfigError(f"{where} must be a whole number, got {value!r}.")
        return int(number)
    if kind is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise ConfigError(f"{where} must be true or false, got {value!r}.")
    if kind is str:
        if isinstance(value, str):
            return value
        raise ConfigError(f"{where} must be a text, got {value!r}.")
    if origin in (tuple, list):
        items = [read_value(item, get_args(kind)[0], where) for item in _items(value, where)]
        return tuple(items) if origin is tuple else items
    if origin in (dict, Mapping) or kind is dict:
        return _read_mapping(value, get_args(kind), where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        return read(kind, value, name=where)
    return value


def plain(value: Any) -> Any:
    """A value as YAML and JSON have it: tuples become lists, mappings plain dicts."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def require(condition: bool, name: str, expected: str, got: object) -> None:
    """Raise a one-sentence `ConfigError` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"{name} must be {expected}, got {got!r}.")


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _read_union(value: Any, options: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in options:
        return None
    errors = []
    for option in options:
        if option is not type(None):
            try:
                return read_value(value, option, where)
            except ConfigError as error:
                errors.append(str(error))
    raise ConfigError(errors[-1])


def _read_mapping(value: Any, kinds: tuple[Any, ...], where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a mapping, got {value!r:.80}.")
    if len(kinds) != 2:
        return plain(value)  # type: ignore[no-any-return]
    return {
        read_value(key, kinds[0], f"a key of {where}"): read_value(item, kinds[1], f"{where}.{key}")
        for key, item in plain(value).items()
    }


def _items(value: Any, where: str) -> Sequence[Any]:
    if isinstance(value, str):
        return [item.strip() for item in value.strip("[]").split(",") if item.strip()]
    if isinstance(value, Sequence):
        return value
    raise ConfigError(f"{where} must be a list, got {value!r:.80}.")


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConfigError(f"{where} must be a number, got {value!r:.80}.")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ConfigError(f"{where} must be a number, got {value!r:.80}.") from None
