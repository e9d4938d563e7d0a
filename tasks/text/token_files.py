"""Prepared text on disk: ``train.bin``, ``val.bin`` (16-bit ids, little-endian) and ``manifest.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1
BYTES_PER_TOKEN = 2
SPLITS = ("train", "val")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class TokenFiles:
    """A finished folder of token files.

    Attributes:
        folder: where they are.
        manifest: what they hold: ``source``, ``tokenizer``, ``splits`` (file, tokens, sha256), ``text``
            (documents, bytes), ``tools`` (versions).
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def vocab_size(self) -> int:
        """Number of ids of the tokenizer."""
        return int(self.manifest["tokenizer"]["vocab_size"])

    @property
    def fingerprint(self) -> str:
        """Checksum over both splits and the vocabulary size: equal content, equal fingerprint."""
        splits = self.manifest["splits"]
        content = [splits[split]["sha256"] for split in SPLITS] + [str(self.vocab_size)]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def tokens(self, split: str) -> np.ndarray:
        """The ids of one split, uint16 ``[tokens]``, as a read-only memory map."""
        if not self.manifest["splits"][split]["tokens"]:
            return np.zeros(0, dtype="<u2")  # an empty file cannot be mapped
        return np.memmap(self._path(split), dtype="<u2", mode="r")

    def verify(self) -> None:
        """Read both files and compare their checksums with the manifest.

        Raises:
            ValueError: a file is not what was prepared; the message names it.
        """
        for split in SPLITS:
            self._check_size(split)
            if file_sha256(self._path(split)) != self.manifest["splits"][split]["sha256"]:
                raise ValueError(
                    f"{self._path(split)} must have the checksum in {MANIFEST}, but its content was changed; "
                    f"delete the folder {self.folder} and prepare again."
                )

    def _path(self, split: str) -> Path:
        return self.folder / str(self.manifest["splits"][split]["file"])

    def _check_size(self, split: str) -> None:
        path = self._path(split)
        expected = self.manifest["splits"][split]["tokens"] * BYTES_PER_TOKEN
        found = path.stat().st_size if path.exists() else None
        if found != expected:
            raise ValueError(
                f"{path} must have {expected} bytes, but "
                f"{'it is missing' if found is None else f'has {found}'}; delete the folder {self.folder} "
                "and prepare again."
            )


def read_token_files(folder: Path) -> TokenFiles | None:
    """Open a finished folder after a quick look at its files' sizes.

    Args:
        folder: made by `tasks.text.preparation.prepare_text`.

    Returns:
        None when there is no such folder.

    Raises:
        ValueError: the folder is damaged; the message says to delete it.
    """
    if not folder.exists():
        return None
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        schema = manifest["schema"]
        files = TokenFiles(folder, manifest)
        if schema == SCHEMA:
            for split in SPLITS:
                files._check_size(split)
            _ = files.fingerprint
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} must describe the prepared text, but it cannot be read ({type(error).__name__}: "
            f"{error}); delete the folder {folder} and prepare again."
        ) from error
    if schema != SCHEMA:
        raise ValueError(
            f"{path} must have schema {SCHEMA}, got {schema}; delete the folder {folder} and prepare again."
        )
    return files


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
