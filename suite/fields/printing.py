"""Text from files in a terminal: what would move the cursor, change colours or turn the direction is written out."""

from __future__ import annotations


def escaped(text: str) -> str:
    r"""A text of printable characters alone; others, line ends among them, are written as in Python (``\x1b``)."""
    return "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)


def one_line(text: object) -> str:
    """A text as one line of printable characters, a blank for every run of white space."""
    return escaped(" ".join(str(text).split()))
