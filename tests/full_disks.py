"""Disks that run full, and the form that an error about them must have."""

from __future__ import annotations

from pathlib import Path


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Fill the file system of a folder but for ``leave`` bytes; returns the file that does it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))
    return filler


def one_sentence(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text and text.endswith(".")
    return text
