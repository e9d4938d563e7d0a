"""Looks up optimizers: the catalogue, registered classes, entry points of installed packages, dotted class paths."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from typing import TypeVar

from suite.fields import ConfigError, nearest, raised
from suite.optim.catalogue import CATALOGUE, LIBRARY, LIBRARY_EXTRA
from suite.optim.config import OptimizerConfig

ENTRY_POINTS = "suite.optimizers"
"""Entry-point group under which another package lists its config classes."""

_registered: dict[str, type[OptimizerConfig]] = {}
_Class = TypeVar("_Class", bound=type[OptimizerConfig])


def register(name: str) -> Callable[[_Class], _Class]:
    """Class decorator that registers an optimizer config under ``name``.

    Raises:
        ValueError: the name is taken.
    """

    def add(cls: _Class) -> _Class:
        taken = (
            name in CATALOGUE
            or name in LIBRARY
            or (name in _registered and class_path(_registered[name]) != class_path(cls))
        )
        if taken:
            raise ValueError(f"The optimizer name {name!r} is taken; choose another.")
        _registered[name] = cls
        return cls

    return add


def is_registered(name: str) -> bool:
    """Whether `register` made a name known in this process."""
    return name in _registered


def spelled(name: str) -> str:
    """An optimizer's name as it is registered, whatever its case; other names are returned as they are."""
    names = list_optimizers()
    lower = {registered.lower(): registered for registered in names}
    return name if name in names or "." in name else lower.get(name.lower(), name)


def list_optimizers() -> dict[str, str]:
    """Every optimizer's name with a description in one line; imports no optimizer."""
    lines = {name: line for name, (_, line) in CATALOGUE.items()}
    lines.update({name: entry.line for name, entry in LIBRARY.items()})
    lines.update({point.name: f"from {point.value}" for point in _entry_points()})
    lines.update({name: (cls.__doc__ or "").strip().partition("\n")[0] for name, cls in _registered.items()})
    return dict(sorted(lines.items()))


def config_class(name: str) -> type:
    """The class behind a registered name or a dotted class path.

    Returns:
        A subclass of `OptimizerConfig`, or, for the name or dotted path of one, a `torch.optim.Optimizer` class.

    Raises:
        ConfigError: the name is unknown (the message gives the nearest name and all known ones), or its library is not
            installed.
    """
    if name in _registered:
        return _registered[name]
    if name in CATALOGUE:
        return import_class(CATALOGUE[name][0])
    if name in LIBRARY:
        return _library_class(name)
    for point in _entry_points():
        if point.name == name:
            loaded = point.load()
            if isinstance(loaded, type):
                return loaded
            raise ConfigError(f"The entry point {name!r} must name a config class, got {point.value}.")
    if "." in name:
        return import_class(name)
    raise ConfigError(f"There is no optimizer {name!r}{nearest(name, list_optimizers())}.")


def name_of(cls: type) -> str:
    """The registered name of a config class, or its dotted path if it has none."""
    path_of_class = class_path(cls)
    names = {path: name for name, (path, _) in CATALOGUE.items()}
    names |= {class_path(registered): name for name, registered in _registered.items()}
    return names.get(path_of_class, path_of_class)


def class_in(catalogue: Mapping[str, tuple[str, str]], name: str, kind: str) -> type:
    """The class behind a name of a catalogue or a dotted class path.

    Args:
        catalogue: name -> (class path, description).
        name: the name, in any case, or dotted path to look up.
        kind: the word for an entry in error messages, such as "schedule".

    Raises:
        ConfigError: the name is unknown, or the path cannot be imported.
    """
    name = {entry.lower(): entry for entry in catalogue}.get(name.lower(), name)
    if name not in catalogue and "." not in name:
        raise ConfigError(f"There is no {kind} {name!r}{nearest(name, catalogue)}.")
    return import_class(catalogue[name][0] if name in catalogue else name)


def import_class(path: str) -> type:
    """Import a class by its dotted path.

    Raises:
        ConfigError: the path cannot be imported, or it does not name a class.
    """
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"The class path {path!r} cannot be imported: {error}.") from error
    except (Exception, SystemExit) as error:  # whatever somebody's file does when it is imported
        raise raised(f"The class path {path!r} cannot be imported, because the module {module}", error) from error
    if not isinstance(cls, type):
        raise ConfigError(f"The class path {path!r} must name a class, got a {type(cls).__name__}.")
    return cls


def _library_class(name: str) -> type:
    path = LIBRARY[name].path
    package = path.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"The optimizer {name!r} needs the package {package}, which is not installed; run pip install "
            f"'{LIBRARY_EXTRA}'."
        )
    return import_class(path)


def class_path(cls: type) -> str:
    """Dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


@functools.cache
def _entry_points() -> importlib.metadata.EntryPoints:
    # Cached, because this searches every installed package.
    return importlib.metadata.entry_points(group=ENTRY_POINTS)
