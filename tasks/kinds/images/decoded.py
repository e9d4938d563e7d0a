"""Decoded images on disk: a memory map that spares small runs the decoding, with the very pixels of the stream.

The work is journalled image by image in order, so that after a kill it goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.kinds.array_files import describe_arrays, mapped_array, read_manifest, verify_arrays, write_manifest
from tasks.kinds.images.encoded import Images, digest
from tasks.kinds.images.reader import Decoder, Reader
from tasks.kinds.prepared_folder import prepare_folder, require_space

SCHEMA = 1
"""Raised whenever prepared content would change."""

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

    def work(working: Path) -> None:
        needed = sum(map(len, splits.values())) * 3 * size**2
        there = sum(file.stat().st_size for file in working.glob("*.npy"))
        require_space(folder, needed - there, what="decoded images", less="data.image_size")
        arrays: dict[str, Any] = {}
        for split, images in splits.items():
            arrays |= _decode(images, working, split, size, decoder, reader)
        write_manifest(working, {"schema": SCHEMA, "arrays": arrays, "corrupt": reader.corrupt.reasons})
        (working / JOURNAL).unlink(missing_ok=True)

    prepare_folder(folder, work, goes_on=True)
    return _manifest(folder)


def _manifest(folder: Path) -> dict[str, Any]:
    return read_manifest(folder, schema=SCHEMA, what="decoded images")


def verify(folder: Path) -> None:
    """Read all arrays and compare their checksums with the manifest.

    Raises:
        ValueError: a file is not what was prepared; the message names it.
    """
    verify_arrays(folder, _manifest(folder))


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
        name: mapped_array(path, shapes[name][1], shapes[name][0], goes_on=done > 0) for name, path in paths.items()
    }
    for first in range(done, len(images), CHUNK_IMAGES):
        numbers = range(first, min(first + CHUNK_IMAGES, len(images)))
        pixels, labels = reader.read(images, numbers, [decoder] * len(numbers))
        arrays["pixels"][first : numbers.stop] = pixels.numpy()
        arrays["labels"][first : numbers.stop] = labels.numpy()
        for array in arrays.values():
            array.flush()
        journal.write(split, numbers.stop, reader.corrupt.reasons)
    return describe_arrays(paths.values())


class _Journal:
    """How much of each split is decoded, and which images were corrupt so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self._done: dict[str, int] = dict(content["done"])
            self.corrupt: dict[str, str] = dict(content["corrupt"])
        except (OSError, ValueError, KeyError, TypeError):  # none, or none that can be trusted
            self._done, self.corrupt = {}, {}

    def done(self, split: str) -> int:
        return self._done.get(split, 0)

    def write(self, split: str, done: int, corrupt: Mapping[str, str]) -> None:
        self._done[split] = done
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({"done": self._done, "corrupt": dict(corrupt)}), encoding="utf-8")
        partial.replace(self.path)
