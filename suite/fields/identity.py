"""The settings of a class that count towards the identity of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


def without_beside(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the settings that can change a run's numbers.

    A field with ``beside`` in its metadata is left out, and so is a field with ``when_set`` if its value is empty. A
    name that is not a field is kept.

    Args:
        cls: the class of the settings: a dataclass or a subclass of one; of other classes every value is kept.
        values: setting -> plain value.
    """
    fields: dict[str, Mapping[str, Any]] = (
        {f.name: f.metadata for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    )
    kept = {}
    for name, value in values.items():
        metadata = fields.get(name, {})
        if "beside" not in metadata and (value or "when_set" not in metadata):
            kept[name] = value
    return kept
