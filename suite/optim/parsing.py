"""Conversion of plain values to optimizer configs and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from suite.fields import ConfigError, nested, raised, require
from suite.optim.config import OptimizerConfig
from suite.optim.registry import class_path, config_class, is_registered, name_of, spelled


def parse(spec: Mapping[str, Any] | OptimizerConfig) -> OptimizerConfig:
    """Make an optimizer config from plain values.

    Args:
        spec: ``{"name": "sgd", "lr": 0.3, ...}`` or ``{"class_path": "suite.optim.SGD", "init_args": {...}}``, or a
            config, which is returned as it is. Nested settings may be written with dots: ``{"adam.lr": 1e-3}``.

    Raises:
        ConfigError: the optimizer is unknown; a field is unknown, missing or of the wrong type; the learning rate is 0;
            or the rule does not broadcast, see `suite.optim.trial`.
    """
    config = parse_part(spec)
    require(config.lr > 0, "lr", "above 0", config.lr)
    return config


def parse_part(spec: Mapping[str, Any] | OptimizerConfig) -> OptimizerConfig:
    """`parse` for a group of a hybrid, which may stand still: its learning rate may be 0."""
    config = spec if isinstance(spec, OptimizerConfig) else _read(spec)
    if not type(config).__module__.startswith("suite.optim.rules."):
        from suite.optim.trial import try_rule

        try_rule(config)
    return config


def _read(spec: Mapping[str, Any]) -> OptimizerConfig:
    name, values = split_spec(spec, "optimizer")
    name = spelled(name)
    # Dotted names come last, so that they override the mappings beside them.
    values = nested(dict(sorted(values.items(), key=lambda item: "." in item[0])))
    cls = config_class(name)
    if issubclass(cls, OptimizerConfig):
        try:
            return cls.from_values(values, name=name_of(cls))
        except ValueError:
            raise
        except Exception as error:
            if cls.__module__.startswith("suite."):
                raise
            raise raised(name, error) from error
    from suite.optim.external import External

    return External.from_values({"path": name, **values}, name=name)


def split_spec(spec: Mapping[str, Any], what: str) -> tuple[str, dict[str, Any]]:
    """The name (or class path) and the field values of either plain form; errors call it ``what``."""
    if "class_path" in spec or "name" in spec:
        name = spec.get("class_path", spec.get("name"))
        require(isinstance(name, str), f"The {what}'s name", "a text", name)
    if "class_path" in spec:
        arguments = spec.get("init_args") or {}
        require(isinstance(arguments, Mapping), f"init_args of the {what}", "a mapping", arguments)
        return spec["class_path"], dict(arguments)
    if "name" in spec:
        return spec["name"], {key: value for key, value in spec.items() if key != "name"}
    raise ConfigError(f"The {what} must be named, got {dict(spec)!r}; give its name or class_path.")


def named_classes(spec: Any) -> Iterator[type]:
    """Classes that plain values name beside the suite's own: by a dotted path, or by a name that is registered.

    Args:
        spec: of an optimizer or a schedule, its parts nested in it; keys that are dotted paths count too.
    """
    if isinstance(spec, list | tuple):
        for item in spec:
            yield from named_classes(item)
    elif isinstance(spec, Mapping):
        for key, value in spec.items():
            yield from named_classes(value)
            name = value if key in ("name", "class_path", "path") else key
            if isinstance(name, str) and not name.startswith("suite.") and ("." in name or is_registered(name)):
                with contextlib.suppress(ConfigError):
                    yield config_class(name)


def describe(config: OptimizerConfig) -> dict[str, Any]:
    """The plain values of a config, defaults included: ``{"name": ..., field: value, ...}``; the inverse of `parse`."""
    values = config.plain_values()
    return {"name": values.pop("name", name_of(type(config))), **values}


def resolve(spec: Mapping[str, Any] | OptimizerConfig) -> dict[str, Any]:
    """Check a spec and return its ``class_path`` form, defaults included; raises ConfigError as `parse` does."""
    config = parse(spec)
    cls = type(config)
    path = f"suite.optim.{cls.__name__}" if cls.__module__.startswith("suite.optim.") else class_path(cls)
    return {"class_path": path, "init_args": config.init_values()}
