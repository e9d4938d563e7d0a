"""Decoded images on disk: a memory map that spares small runs the decoding, with the very pixels of the stream.

The work is journalled image by image in order, so that after a kill it goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.images.encoded import Images, digest
from tasks.images.reader import Decoder, Reader
from tasks.prepared_folder import full_disk_explained, only_process, require_space

SCHEMA = 1
"""Raised whenever prepared content would change."""

MANIFEST = "manifest.json"
JOURNAL = "journal.json"
CHUNK_IMAGES = 512


class Decoded:
    """Pixels and labels of one split, memory-mapped.

    Args:
        folder: made by `prepare_decoded`.
        split: ``train`` or ``val``.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.pixels = np.load(folder / f"{split}-pixels.npy", mmap_mode="r")
        self.labels = np.load(folder / f"{split}-labels.npy")

    def read(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pixels uint8 ``[n, 3, S, S]`` and labels int64 ``[n]`` of some samples."""
        return torch.from_numpy(self.pixels[numbers]), torch.from_numpy(self.labels[numbers])


def prepare_decoded(
    splits: Mapping[str, Images], folder: Path, *, size: int, decoder: Decoder, reader: Reader
) -> dict[str, Any]:
    """Decode all images once; safe from several processes at once and after a kill.

    Args:
        splits: the images, by split.
        folder: final folder, whose name is unlike for unlike images or sizes.
        size: S, side of the decoded images.
        decoder: from encoded bytes to pixels.
        reader: decodes and counts what is corrupt.

    Returns:
        The manifest: arrays with their checksums, and the corrupt images with their reasons.

    Raises:
        ValueError: too many images are corrupt, the disk is too small, or an earlier result is damaged.
    """
    if not folder.exists():
        with only_process(folder):
            if not folder.exists():
                working = folder.with_name(f"{folder.name}.partial")
                working.mkdir(parents=True, exist_ok=True)
                needed = sum(map(len, splits.values())) * 3 * size**2
                there = sum(file.stat().st_size for file in working.glob("*.npy"))
                require_space(folder, needed - there, what="decoded images", less="data.image_size")
                with full_disk_explained(folder, kept=True):
                    arrays = {split: _decode(images, working, split, size, decoder, reader)
                              for split, images in splits.items()}  # fmt: skip
                manifest = {
                    "schema": SCHEMA,
                    "arrays": {name: entry for files in arrays.values() for name, entry in files.items()},
                    "corrupt": reader.corrupt.found,
                }
                (working / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
                (working / JOURNAL).unlink(missing_ok=True)
                os.rename(working, folder)
    return read_manifest(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a folder of decoded images holds.

    Raises:
        ValueError: it cannot be read or is of another version.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["schema"] != SCHEMA:
            raise KeyError(f"schema {manifest['schema']}, not {SCHEMA}")
        for name, entry in manifest["arrays"].items():
            if (folder / name).stat().st_size != entry["bytes"]:
                raise OSError(f"{name} has another size than was written")
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{folder} must hold decoded images, but it is damaged ({error}); delete it and prepare again."
        ) from error
    return manifest


def verify(folder: Path) -> None:
    """Read all arrays and compare their checksums with the manifest.

    Raises:
        ValueError: a file is not what was prepared; the message names it.
    """
    for name, entry in read_manifest(folder)["arrays"].items():
        if _sha256(folder / name) != entry["sha256"]:
            raise ValueError(
                f"{folder / name} must have the checksum in {MANIFEST}, but its content was changed; delete the "
                f"folder {folder} and prepare again."
            )


def decoded_folder(data_dir: Path, label: str, splits: Mapping[str, Images], settings: Mapping[str, Any]) -> Path:
    """The final folder of `prepare_decoded`; its name ends with a hash of the images' identity and the settings."""
    lines = [str(SCHEMA), json.dumps(dict(settings), sort_keys=True)]
    for split, images in splits.items():
        lines += [split, *images.identity()]
    return data_dir / f"{label}-decoded-{digest(lines)[:10]}"


def _decode(
    images: Images, folder: Path, split: str, size: int, decoder: Decoder, reader: Reader
) -> dict[str, dict[str, Any]]:
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "pixels": ((len(images), 3, size, size), np.uint8),
        "labels": ((len(images),), np.int64),
    }
    journal = _Journal(folder / JOURNAL)
    done = journal.done(split)
    reader.corrupt.restore(journal.corrupt)
    paths = {name: folder / f"{split}-{name}.npy" for name in shapes}
    arrays = {
        name: np.lib.format.open_memmap(path, mode="r+" if done else "w+", dtype=shapes[name][1], shape=shapes[name][0])
        for name, path in paths.items()
    }
    for first in range(done, len(images), CHUNK_IMAGES):
        numbers = range(first, min(first + CHUNK_IMAGES, len(images)))
        pixels, labels = reader.read(images, numbers, [decoder] * len(numbers))
        arrays["pixels"][first : numbers.stop] = pixels.numpy()
        arrays["labels"][first : numbers.stop] = labels.numpy()
        for array in arrays.values():
            array.flush()
        journal.write(split, numbers.stop, reader.corrupt.found)
    return {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in paths.values()}


class _Journal:
    """How far each split is, and which images were corrupt so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"done": {}, "corrupt": {}}
        self._done: dict[str, int] = content["done"]
        self.corrupt: dict[str, str] = content["corrupt"]

    def done(self, split: str) -> int:
        return self._done.get(split, 0)

    def write(self, split: str, done: int, corrupt: Mapping[str, str]) -> None:
        self._done[split] = done
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({"done": self._done, "corrupt": dict(corrupt)}), encoding="utf-8")
        partial.replace(self.path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
