"""Whether an optional library is installed, without the seconds that importing it would take."""

from __future__ import annotations

import importlib.util
from functools import cache


@cache
def is_installed(library: str) -> bool:
    """Whether ``library`` can be imported; looked up once."""
    return importlib.util.find_spec(library) is not None
