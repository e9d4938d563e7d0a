"""The decorator of classes whose fields are settings."""

from __future__ import annotations

import dataclasses
from typing import TypeVar, dataclass_transform

from suite.fields.reading import field_types

Class = TypeVar("Class", bound=type)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
def configurable(cls: Class) -> Class:
    """Make a class a dataclass whose fields, with those of all its bases, are the settings that it is made from.

    It is ``dataclasses.dataclass(kw_only=True, eq=False)``, since modules are hashed by identity, and the types of
    inherited settings are known where their names are not imported.
    """
    dataclasses.dataclass(kw_only=True, eq=False)(cls)
    vars(cls)["__init__"].__annotations__ = {**field_types(cls), "return": None}
    return cls
