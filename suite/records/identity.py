"""A run's id: the hash of all settings that can change its numbers. Two runs with equal ids are the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def run_id_of(identity: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id of the run that has this identity.

    Args:
        identity: nested plain values; the order of keys does not matter.

    Returns:
        The run id (16 hexadecimal digits) and the identity as JSON keeps it.

    Raises:
        ValueError: the identity contains a value that JSON cannot represent, such as a NaN.
    """
    try:
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"A run's configuration must be plain finite values, got {error}.") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16], json.loads(text)


def changed_code(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Modules of the user's that differ between two identities which are equal in everything else; empty otherwise."""
    if any(before.get(key) != now.get(key) for key in (before.keys() | now.keys()) - {"code"}):
        return []
    code, other = now.get("code") or {}, before.get("code") or {}
    return sorted(name for name in code.keys() | other.keys() if code.get(name) != other.get(name))
