"""What of a source is not used: counted, named in one sentence, and refused where it is too much."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

HANDFUL = 5
"""So many may be lost of any source, however small it is."""

SHARE = 0.01
"""Of larger ones, this share."""

NAMED = 3
"""So many of each reason are named."""

_log = logging.getLogger(__name__)
_said: set[str] = set()


def allowed(total: int) -> int:
    """How many of ``total`` may be lost: a handful, or one in a hundred."""
    return max(HANDFUL, int(SHARE * total))


class LeftOut:
    """What is left out of one source, by reason.

    Attributes:
        names: of what is left out, by reason.
        lost: how many of them may have been meant as data.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.lost = 0

    def add(self, reason: str, names: Iterable[str], *, lost: bool = True) -> None:
        """Note some names.

        Args:
            reason: why they are left out, in words that follow "left out are".
            names: of files, folders or samples.
            lost: whether they may have been meant as data; hidden files and the like are not.
        """
        listed = [name if name.isprintable() else ascii(name) for name in names]
        if listed:
            self.names.setdefault(reason, []).extend(listed)
            self.lost += len(listed) if lost else 0

    def facts(self) -> dict[str, Any]:
        """Numbers and first names by reason, for a manifest."""
        return {why: {"count": len(names), "first": names[:NAMED]} for why, names in self.names.items()}

    def say(self, source: object, used: int, unit: str) -> None:
        """Log one sentence, once per process; nothing where nothing is left out.

        Args:
            source: that is read.
            used: how many of its files or samples are used.
            unit: what is counted, plural.

        Raises:
            ValueError: more are lost than `allowed` says.
        """
        if not self.names:
            return
        listed = "; ".join(
            f"{len(names)} {why} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
            for why, names in self.names.items()
        )
        if self.lost > allowed(used + self.lost):
            raise ValueError(
                f"At most {allowed(used + self.lost)} of the {used + self.lost} {unit} of {source} may be left out, "
                f"but {self.lost} would be: {listed}; convert or rename them, or take them out of data.source."
            )
        sentence = f"Of {source} {used} {unit} are used; left out are {listed}."
        if sentence not in _said:
            _said.add(sentence)
            _log.warning("%s", sentence)
