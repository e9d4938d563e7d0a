"""What libraries say on their own: it may hold names from files, so it reaches the terminal as plain text."""

from __future__ import annotations

import warnings

from suite.fields import one_line


def show_warnings_as_text() -> None:
    """Have every warning of this process printed as one line of printable characters."""
    warnings.formatwarning = _formatted


def _formatted(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return one_line(f"{category.__name__}: {message} ({filename}:{lineno})") + "\n"
