"""Prepared sequences on disk: ``train.bin``, ``val.bin`` (16- or 8-bit ids, little-endian) and ``manifest.json``."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.kinds.array_files import MANIFEST, file_sha256, verify_arrays
from tasks.kinds.prepared_folder import named_by_content

SCHEMA = 1
BYTES_PER_TOKEN = 2
SPLITS = ("train", "val")

_COPY_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class TokenizedSource:
    """Which source becomes which token files; equal values share one prepared folder.

    A subclass gives `tokenizer_identity` and `unit`.

    Attributes:
        dataset: name of the dataset, for the folder.
        source: source of the tokens, with a ``label`` and an ``identity()``.
        val_share: share of the tokens, at the end, that is the validation split.
        max_tokens: use only the first so many tokens; None: all.
    """

    dataset: str
    source: Any
    val_share: float
    max_tokens: int | None

    def tokenizer_identity(self) -> dict[str, Any]:
        """What decides the tokens of a text."""
        raise NotImplementedError

    @property
    def unit(self) -> str:
        """What a token is, in a word for the folder's name."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Everything that decides the prepared content."""
        return {
            "schema": SCHEMA,
            "source": self.source.identity(),
            "tokenizer": self.tokenizer_identity(),
            "val_share": self.val_share,
            "max_tokens": self.max_tokens,
        }

    def folder(self, data_dir: Path) -> Path:
        """The final folder; its name ends with a hash of the identity."""
        return named_by_content(data_dir, f"{self.dataset}-{self.source.label}-{self.unit}", self.identity())

    def named_source(self) -> str:
        """The source's path, or its label where it has none, for messages."""
        return str(self.source.identity().get("path", self.source.label))


@dataclass(frozen=True)
class TokenFiles:
    """A finished folder of token files.

    Attributes:
        folder: where they are.
        manifest: what they hold: ``source``, ``tokenizer``, ``splits`` (file, tokens, sha256), ``text``
            (documents, bytes), ``tools`` (versions), and ``bytes_per_token`` where it is not 2.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def vocab_size(self) -> int:
        """Number of ids of the tokenizer."""
        return int(self.manifest["tokenizer"]["vocab_size"])

    @property
    def bytes_per_token(self) -> int:
        """Size of an id in the files: 1 or 2."""
        return int(self.manifest.get("bytes_per_token", BYTES_PER_TOKEN))

    @property
    def fingerprint(self) -> str:
        """Checksum over both splits and the vocabulary size: equal content, equal fingerprint."""
        splits = self.manifest["splits"]
        content = [splits[split]["sha256"] for split in SPLITS] + [str(self.vocab_size)]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def tokens(self, split: str) -> np.ndarray:
        """The ids of one split, uint16 or uint8 ``[tokens]``, as a read-only memory map."""
        dtype = f"<u{self.bytes_per_token}"
        if not self.manifest["splits"][split]["tokens"]:
            return np.zeros(0, dtype=dtype)  # an empty file cannot be mapped
        return np.memmap(self._path(split), dtype=dtype, mode="r")

    def verify(self) -> None:
        """Read both files and compare their checksums with the manifest.

        Raises:
            ValueError: a file is not what was prepared; the message names it.
        """
        for split in SPLITS:
            self._check_size(split)
        verify_arrays(self.folder, {split["file"]: split for split in self.manifest["splits"].values()})

    def _path(self, split: str) -> Path:
        return self.folder / str(self.manifest["splits"][split]["file"])

    def _check_size(self, split: str) -> None:
        path = self._path(split)
        expected = self.manifest["splits"][split]["tokens"] * self.bytes_per_token
        size = path.stat().st_size if path.exists() else None
        if size != expected:
            raise ValueError(
                f"{path} must have {expected} bytes, but "
                f"{'it is missing' if size is None else f'has {size}'}; delete the folder {self.folder} "
                "and prepare again."
            )


def read_token_files(folder: Path) -> TokenFiles:
    """Open a finished folder after a quick look at its files' sizes.

    Raises:
        ValueError: the folder is damaged; the message says to delete it.
    """
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


def split_tokens(working: Path, train_tokens: int, bytes_per_token: int = BYTES_PER_TOKEN) -> None:
    """Move the tokens after the first ``train_tokens`` from ``train.bin`` to ``val.bin``.

    The function may be interrupted at any point and called again.

    Args:
        working: folder with a ``train.bin`` that holds both splits.
        train_tokens: number of tokens that stay.
        bytes_per_token: size of a token.
    """
    train, val = working / "train.bin", working / "val.bin"
    # Once val.bin is there it is whole, so train.bin may already have been cut.
    if not val.exists():
        part = working / "val.bin.part"
        with open(train, "rb") as file, open(part, "wb") as copy:
            file.seek(train_tokens * bytes_per_token)
            shutil.copyfileobj(file, copy, _COPY_BYTES)
            copy.flush()
            os.fsync(copy.fileno())
        os.replace(part, val)
    os.truncate(train, train_tokens * bytes_per_token)


def describe_splits(working: Path, bytes_per_token: int = BYTES_PER_TOKEN) -> dict[str, Any]:
    """The manifest's ``splits``: file, tokens and checksum of each.

    Args:
        working: folder of finished token files.
        bytes_per_token: size of a token.
    """
    files = {split: working / f"{split}.bin" for split in SPLITS}
    return {
        split: {"file": path.name, "tokens": path.stat().st_size // bytes_per_token, "sha256": file_sha256(path)}
        for split, path in files.items()
    }
