"""Strict conversion of plain values to dataclasses: it checks names, required fields, types and ranges."""

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
    """Make a dataclass from plain values, and check them.

    Args:
        cls: the dataclass, whose ``__post_init__`` may check more.
        values: field values as in YAML or on the command line. For a field of that type, ``"1e-3"`` becomes a number,
            a single number a list, and a text with commas a tuple.
        name: the settings' name in error messages; empty if the fields' names are enough.

    Raises:
        ConfigError: a field is unknown, missing, of the wrong type or out of its range.
    """
    kinds = field_types(cls)
    for key in values:
        if key not in kinds:
            unknown = f"{name} has no setting" if name else "there is no setting"
            raise ConfigError(f"{unknown} {key!r}{nearest(str(key), kinds)}.")
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        required = f.init and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in values:
            raise ConfigError(f"{name} needs {f.name}, which has no default; set {f.name}.".lstrip())
    typed = {key: read_value(value, kinds[key], _joined(name, key)) for key, value in values.items()}
    check_ranges(cls, typed, name=name)
    return cls(**typed)


def field_types(cls: type) -> dict[str, Any]:
    """Name -> type of the fields that a dataclass's constructor takes, in order."""
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def check_ranges(cls: type, values: Mapping[str, Any], *, name: str) -> None:
    """Check numbers against the bounds in their fields' metadata; see `suite.fields`.

    Args:
        cls: a dataclass.
        values: field -> value; names that are not fields are ignored.
        name: the settings' name in error messages, such as ``model``; empty if the fields' names are enough.

    Raises:
        ConfigError: a number is out of its bounds or not finite, or a list repeats an item that must differ.
    """
    for f in dataclasses.fields(cls):
        if f.name not in values:
            continue
        bounds = [key for key in f.metadata if key in _BOUNDS]
        value = values[f.name]
        if "different" in f.metadata and value is not None and any(item in value[:i] for i, item in enumerate(value)):
            raise ConfigError(f"{_joined(name, f.name)} must list different values, got {value}.")
        for number in value if isinstance(value, list | tuple) else [value]:
            if not bounds or not isinstance(number, int | float) or isinstance(number, bool):
                continue  # null, or a choice beside numbers such as auto
            if not math.isfinite(number):
                raise ConfigError(f"{_joined(name, f.name)} must be a finite number, got {value}.")
            if not all(_BOUNDS[key][0](number, f.metadata[key]) for key in bounds):
                expected = " and ".join(_BOUNDS[key][1].format(f.metadata[key]) for key in bounds)
                expected += ", or null" if type(None) in get_args(field_types(cls)[f.name]) else ""
                raise ConfigError(f"{_joined(name, f.name)} must be {expected}, got {value}.")


def read_value(value: Any, kind: Any, where: str) -> Any:
    """Convert a plain value to the type ``kind``; error messages call it ``where``.

    Raises:
        ConfigError: the value does not have that type.
    """
    origin, kinds = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _read_union(value, kinds, where)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in kinds):
            return value
        raise ConfigError(f"{where} must be one of {', '.join(map(str, kinds))}, got {value!r:.80}.")
    if kind in (int, float):
        return _number(value, kind, where)
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        return _instance(value, bool, "true or false", where)
    if kind is str:
        return _instance(value, str, "a text", where)
    if origin in (tuple, list):
        items = [read_value(item, kinds[0], f"{where}[{i}]") for i, item in enumerate(_items(value, origin, where))]
        return tuple(items) if origin is tuple else items
    if origin in (dict, Mapping) or kind is dict:
        return _read_mapping(value, kinds, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and not isinstance(value, kind):
        expected = f"a mapping with {', '.join(field_types(kind))}"
        return read(kind, _instance(value, Mapping, expected, where), name=where)
    return value


def plain(value: Any) -> Any:
    """Convert a value for YAML or JSON: tuples become lists, dataclasses mappings without their null fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: plain(item) for name, item in fields.items() if item is not None}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def require(condition: bool, name: str, expected: str, got: object) -> None:
    """Raise a `ConfigError` that says what was expected, unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"{name} must be {expected}, got {got!r}.")


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _instance(value: Any, kind: type, expected: str, where: str) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(f"{where} must be {expected}, got {value!r:.80}.")
    return value


def _read_union(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return read_value(value, kind, where)
            except ConfigError as error:
                errors.append(str(error))
    raise ConfigError(errors[-1])


def _read_mapping(value: Any, kinds: tuple[Any, ...], where: str) -> dict[Any, Any]:
    items = plain(_instance(value, Mapping, "a mapping", where))
    if len(kinds) != 2:
        return dict(items)
    return {
        read_value(key, kinds[0], f"a key of {where}"): read_value(item, kinds[1], f"{where}.{key}")
        for key, item in items.items()
    }


def _items(value: Any, origin: type, where: str) -> Sequence[Any]:
    if origin is tuple and isinstance(value, str):
        return [item.strip() for item in value.strip("[]").split(",") if item.strip()]
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    raise ConfigError(f"{where} must be a list, got {value!r:.80}.")


def _number(value: Any, kind: type, where: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = value if type(value) is int else float(value)  # float() would round a long whole number
        if kind is float or int(number) == number:
            return kind(number)  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{where} must be {'a whole number' if kind is int else 'a number'}, got {value!r:.80}.")
