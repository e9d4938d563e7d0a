"""The embedded sample: scikit-learn's handwritten digits, as shards of PNG files.

1,797 grey images of 8 x 8 pixels, ten classes of 174 to 183 each (the test part of the UCI set "Optical Recognition
of Handwritten Digits"). A network of any size separates them well above 90%: a check of the pipeline and a small
experiment, not natural images. It needs no internet, and takes a second.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from tasks.kinds.images.encoded import Encoded
from tasks.kinds.images.shard_writer import write_info, write_shard
from tasks.kinds.prepared_folder import prepare_folder

RECIPE = 1
"""Raised whenever the files below would change."""

VAL_IMAGES = 297
SHARD_IMAGES = 300
CLASSES = 10
_GREY_LEVELS = 16


def digit_shards(data_dir: Path) -> Path:
    """The folder of the sample's shards, made if it is not there yet.

    Args:
        data_dir: folder for prepared data.
    """
    folder = data_dir / f"digits-{RECIPE}"
    prepare_folder(folder, _write, goes_on=False)
    return folder


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / _GREY_LEVELS)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(grey))
    splits: dict[str, dict[str, int]] = {}
    for split, rows in (("validation", order[:VAL_IMAGES]), ("train", order[VAL_IMAGES:])):
        splits[split] = {}
        for number, first in enumerate(range(0, len(rows), SHARD_IMAGES)):
            name = f"digits-{split}-{number:04d}.tar"
            samples = [
                Encoded(_png(grey[i]), int(digits.target[i]), f"digit_{i:04d}") for i in rows[first:][:SHARD_IMAGES]
            ]
            splits[split][name] = write_shard(folder / name, samples, extension="png")
    write_info(folder, splits, classes=CLASSES)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
