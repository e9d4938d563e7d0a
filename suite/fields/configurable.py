"""The decorator for classes whose fields are settings."""

from __future__ import annotations

import dataclasses
from typing import TypeVar, dataclass_transform

from suite.fields.reading import field_types

Class = TypeVar("Class", bound=type)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
def configurable(cls: Class) -> Class:
    """Make a class a dataclass whose fields, with those of its bases, are the arguments of its constructor.

    It applies ``dataclasses.dataclass(kw_only=True, eq=False)``, since modules are hashed by identity, and resolves
    the constructor's annotations, since inherited ones name types that the class's module need not import.
    """
    dataclasses.dataclass(kw_only=True, eq=False)(cls)
    vars(cls)["__init__"].__annotations__ = {**field_types(cls), "return": None}
    return cls


def require_methods(cls: type, base: type, *names: str, kind: str) -> None:
    """Refuse a class that leaves open what its base class leaves open.

    Args:
        cls: the class.
        base: the class whose methods are to be defined.
        names: the methods.
        kind: what the class should be, such as ``task that can be trained``.

    Raises:
        ValueError: a method is not defined.
    """
    missing = [name for name in names if getattr(cls, name) is getattr(base, name)]
    if missing:
        raise ValueError(
            f"{cls.__module__}.{cls.__qualname__} is no {kind}, because it does not define {', '.join(missing)}; name "
            "another class."
        )
