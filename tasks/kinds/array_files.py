"""Prepared data as flat arrays: one ``.npy`` file each, their sizes and checksums in a manifest beside them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.kinds.prepared_folder import write_durably

MANIFEST = "manifest.json"


def describe_arrays(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The manifest's ``arrays``: bytes and checksum of each file, by its name."""
    return {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in paths}


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of a folder that is not finished yet."""
    write_durably(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def read_manifest(folder: Path, *, schema: int, what: str) -> dict[str, Any]:
    """Read the manifest of a prepared folder, and compare its files' sizes with it.

    Args:
        folder: a finished folder.
        schema: the version that its manifest must have.
        what: what the folder must hold, for the message.

    Raises:
        ValueError: it cannot be read or is of another version.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["schema"] != schema:
            raise KeyError(f"schema {manifest['schema']}, not {schema}")
        for name, entry in manifest["arrays"].items():
            if (folder / name).stat().st_size != entry["bytes"]:
                raise OSError(f"{name} has another size than was written")
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{folder} must hold {what}, but it is damaged ({error}); delete it and prepare again."
        ) from error
    return manifest


def verify_arrays(folder: Path, arrays: dict[str, dict[str, Any]]) -> None:
    """Read all arrays and compare their checksums with the manifest.

    Args:
        folder: a finished folder.
        arrays: entries of the manifest by file name, with ``sha256``.

    Raises:
        ValueError: a file is not what was prepared; the message names it.
    """
    for name, entry in arrays.items():
        if file_sha256(folder / name) != entry["sha256"]:
            raise ValueError(
                f"{folder / name} must have the checksum in {MANIFEST}, but its content was changed; delete the "
                f"folder {folder} and prepare again."
            )


def mapped_array(path: Path, dtype: Any, shape: tuple[int, ...], *, goes_on: bool = False) -> np.memmap:
    """An array on disk, to be filled through a memory map; its disk space is reserved at once.

    Without that, a disk that fills up under the map would end the process without a message.

    Args:
        path: path of the ``.npy`` file.
        dtype: type of the array's elements.
        shape: shape of the array.
        goes_on: whether the file exists already and keeps its content.

    Raises:
        OSError: the disk is full.
    """
    array = np.lib.format.open_memmap(path, mode="r+" if goes_on else "w+", dtype=dtype, shape=shape)
    if array.nbytes:
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
    return array


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
