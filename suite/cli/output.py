"""What libraries say on their own: it may hold names from files, so it reaches the terminal as plain text."""

from __future__ import annotations

import logging
import warnings

from suite.fields import one_line

_NOTHING_TO_KNOW = (
    ".*LeafSpec.*",
    ".*callbacks used to create the checkpoint.*",
    ".*does not have many workers.*",
    ".*`srun` command is.*",
    "Mismatch dtype between input and weight",
)
"""Beginnings of warnings that no user of the suite can do anything about."""


def show_warnings_as_text() -> None:
    """Have every warning of this process printed as one line of printable characters."""
    warnings.formatwarning = _formatted


def keep_to_the_point() -> None:
    """Silence what Lightning says of every training: seeds, devices that there are not, products, its own versions."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOTHING_TO_KNOW:
        warnings.filterwarnings("ignore", message=message)


def _formatted(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return one_line(f"{category.__name__}: {message} ({filename}:{lineno})") + "\n"
