"""The error for wrong settings, and the nearest known name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """The given values are not valid settings; the message is one sentence for the user."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, if one is close, and the list of all."""
    listed = sorted(names)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.5)
    return (f" (did you mean {close[0]!r}?)" if close else "") + f"; known: {', '.join(listed)}"
