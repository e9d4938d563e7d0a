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
