"""Small folders of images for tests: JPEGs of known content in shards or class folders."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.kinds.images.data import ImageData
from tasks.kinds.images.encoded import Encoded
from tasks.kinds.images.shard_writer import write_info, write_shard


def photo(seed: int, width: int = 40, height: int = 30, *, mode: str = "RGB", format: str = "JPEG") -> bytes:
    """A smooth picture with some detail."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(file, format, quality=92)
    return file.getvalue()


def samples(count: int, *, classes: int = 4, first: int = 0) -> list[Encoded]:
    return [Encoded(photo(i), i % classes, f"photo_{i:04d}") for i in range(first, first + count)]


def write_shards(
    folder: Path, lengths: tuple[int, ...] = (7, 5, 6, 6), val: tuple[int, ...] = (4,), *, info: bool = True
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    splits: dict[str, dict[str, int]] = {}
    first = 0
    for split, of_split in (("train", lengths), ("validation", val)):
        splits[split] = {}
        for number, length in enumerate(of_split):
            name = f"small-{split}-{number:04d}.tar"
            splits[split][name] = write_shard(folder / name, samples(length, first=first))
            first += length
    if info:
        write_info(folder, splits if val else {"train": splits["train"]}, classes=4)
    return folder


def open_images(source: Path | str, data_dir: Path, **settings: Any) -> ImageData:
    settings = {"batch_size": 4, "image_size": 16, "num_workers": 2, "mixup": 0.0, **settings}
    data = ImageData(source=str(source), data_dir=str(data_dir), **settings)
    data.ensure_open()
    return data
