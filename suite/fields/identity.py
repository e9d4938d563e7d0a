"""Which settings of a class count towards the identity of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


def without_beside(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of those settings that can change a run's numbers.

    A field whose metadata has ``beside`` is left out, one that has ``when_set`` where its value is empty; what is no
    field of a dataclass is kept.

    Args:
        cls: the class that the settings belong to; bases that are dataclasses count, whether it is one or not.
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
