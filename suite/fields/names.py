"""The error of everything that is read here, and the nearest known name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """Settings cannot be made from the given values; the message is one sentence for the user."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Part of a sentence that names the nearest known name and lists all."""
    listed = sorted(names)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.5)
    return (f" (did you mean {close[0]!r}?)" if close else "") + f"; known: {', '.join(listed)}"
