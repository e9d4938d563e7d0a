"""Decoded images on disk: small runs read them from a memory map in place of decoding; the pixels are the same.

A journal counts the images that are decoded, so that the work goes on after a kill.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.kinds.array_files import describe_arrays, mapped_array, read_manifest, write_manifest
from tasks.kinds.images.encoded import Images, digest
from tasks.kinds.images.reader import Decoder, Reader
from tasks.kinds.prepared_folder import prepare_folder, require_space, write_durably

SCHEMA = 2
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
        folder: final folder, whose name differs for different images or settings.
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
        write_manifest(working, {"schema": SCHEMA, "arrays": arrays, "corrupt": reader.corrupt})
        (working / JOURNAL).unlink(missing_ok=True)

    prepare_folder(folder, work, goes_on=True)
    return read_manifest(folder, schema=SCHEMA, what="decoded images")


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
    done, corrupt = _read_journal(folder)
    reader.restore(corrupt)
    paths = {name: folder / f"{split}-{name}.npy" for name in shapes}
    arrays = {
        name: mapped_array(path, shapes[name][1], shapes[name][0], goes_on=split in done)
        for name, path in paths.items()
    }
    for first in range(done.get(split, 0), len(images), CHUNK_IMAGES):
        numbers = range(first, min(first + CHUNK_IMAGES, len(images)))
        pixels, labels = reader.read(images, numbers, [decoder] * len(numbers))
        arrays["pixels"][first : numbers.stop] = pixels.numpy()
        arrays["labels"][first : numbers.stop] = labels.numpy()
        for array in arrays.values():
            array.flush()
        done[split] = numbers.stop
        write_durably(folder / JOURNAL, json.dumps({"done": done, "corrupt": reader.corrupt}))
    return describe_arrays(paths.values())


def _read_journal(folder: Path) -> tuple[dict[str, int], dict[str, str]]:
    """How many images of each split are decoded, and which were corrupt so far."""
    try:
        content = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
        return dict(content["done"]), dict(content["corrupt"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or none that can be trusted
        return {}, {}
