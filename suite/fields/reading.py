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

LARGEST_WHOLE = 2**63 - 1
"""Beyond it a whole number is no size, seed or count: no array and no record could hold it."""

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
        ConfigError: a number is out of its bounds or not finite, or a list is too long or repeats an item that must
            differ.
    """
    for f in dataclasses.fields(cls):
        if f.name not in values:
            continue
        where, value = _joined(name, f.name), values[f.name]
        if value is None and "None" not in str(f.type) and _refuses_null(field_types(cls)[f.name]):
            raise ConfigError(f"{where} must be given, got null; leave it out for its default.")
        bounds = {key: bound for key, bound in f.metadata.items() if key in _BOUNDS}
        items = value if isinstance(value, list | tuple) else [value]
        if "different" in f.metadata and len(set(items)) < len(items):
            raise ConfigError(f"{where} must list different values, got {value!s:.80}.")
        if len(items) > f.metadata.get("most", len(items)):
            raise ConfigError(f"{where} must list at most {f.metadata['most']:,} values, got {len(items):,}.")
        for number in items:
            if not isinstance(number, int | float) or isinstance(number, bool):
                continue  # null, or a choice beside numbers such as auto
            if (bounds or "finite" in f.metadata) and isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"{where} must be a finite number, got {value!s:.80}.")
            if not all(_BOUNDS[key][0](number, bound) for key, bound in bounds.items()):
                expected = bounds_in_words(bounds)
                expected += ", or null" if type(None) in get_args(field_types(cls)[f.name]) else ""
                raise ConfigError(f"{where} must be {expected}, got {value!s:.80}.")
            if isinstance(number, int) and abs(number) > LARGEST_WHOLE:
                raise ConfigError(f"{where} must be a whole number below 2^63, got {value!s:.80}.")


def bounds_in_words(metadata: Mapping[str, Any]) -> str:
    """The bounds in a field's metadata, such as ``at least 1 and below 9``; empty where there are none."""
    return " and ".join(_BOUNDS[key][1].format(bound) for key, bound in metadata.items() if key in _BOUNDS)


def _refuses_null(kind: Any) -> bool:
    return kind is not Any and type(None) not in (kind, *get_args(kind))


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
        raise ConfigError(f"{name} must be {expected}, got {got!r:.200}.")


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
    expected = "a whole number" if kind is int else "a number"
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = value if type(value) is int else float(value)  # float() would round a long whole number
        if kind is float:
            return float(number)
        if int(number) == number:
            if abs(number) <= LARGEST_WHOLE:
                return int(number)
            expected += " below 2^63"
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{where} must be {expected}, got {value!r:.80}.")
