"""When are two runs the same run? When what can change their numbers is the same, and so its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def run_id_of(identity: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id of the run that has this identity.

    Args:
        identity: plain values, nested; their order does not matter.

    Returns:
        The run id (16 hexadecimal digits) and the identity as JSON keeps it.

    Raises:
        ValueError: the identity holds something that JSON cannot, or a NaN.
    """
    try:
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"A run's configuration must be plain finite values, got {error}.") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16], json.loads(text)
