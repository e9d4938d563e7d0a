"""Images per second of the suite's loader against torchvision's `ImageFolder` with Pillow in a `DataLoader`.

Both read the same files, decode, resize the short side to 256, cut 224 x 224, normalise, and shuffle, with equally
many workers: threads here, processes there. A third loader decodes as the suite does, but in the `DataLoader`'s
processes: what threads gain or lose. Photos are made for the purpose (smooth colours and noise, JPEG quality 90); real
ones come from ``--source``. Runs take turns, so that a busy machine slows all; the table shows medians, and the
medians of the ratios within a round. Expected ratio to `ImageFolder`: at least 1.5.

    python benchmarks/images.py [--workers 2] [--images 256] [--rounds 5] [--source FOLDER_OF_SHARDS_OR_CLASSES ...]
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.kinds.images.augment import normalised
from tasks.kinds.images.data import ImageData

SIZES = ((500, 375), (1000, 750))
"""Width and height: ImageNet's usual size, and a larger one that can be decoded at half its size."""


class InProcesses(Dataset):
    """The suite's decoding, one image at a time, for a `DataLoader` with processes."""

    def __init__(self, data: ImageData) -> None:
        self.images, self.decoder = data.of_split("train"), data._centre()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        encoded = self.images.read(number)
        return normalised(self.decoder(encoded.data)), encoded.label


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=256, help="made or used of each source, at most")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", nargs="*", default=[], help="folders of shards, or of one folder per class")
    options = parser.parse_args()
    print(f"{options.workers} workers, {options.rounds} rounds; images/s")
    print(f"{'':28}{'suite':>8}{'ImageFolder':>13}{'ratio':>7}{'in processes':>14}{'ratio':>7}{'cached':>9}")
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write_photos(Path(folder, "photos"), options.images, width, height)
            report(f"{width} x {height}", compare(Path(folder), str(Path(folder, "photos")), options))
    for source in options.source:
        with tempfile.TemporaryDirectory() as folder:
            report(Path(source).name[:26], compare(Path(folder), source, options))


def write_photos(folder: Path, count: int, width: int, height: int) -> None:
    """Write JPEGs in two class folders, 40 of them different (a photo's content does not change what it costs)."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(min(count, 40)):
        coarse = np.clip(rng.normal(128, 50, (height // 8, width // 8, 3)), 0, 255).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=float)
        pixels = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    for number in range(count):
        path = folder / f"class_{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded[number % len(encoded)])


def open_data(folder: Path, source: str, options: argparse.Namespace, *, cached: bool = False) -> ImageData:
    """The suite's data, all steps of one epoch."""
    data = ImageData(
        batch_size=options.batch_size,
        source=source,
        data_dir=str(folder / "data"),
        num_workers=options.workers,
        mixup=0.0,
        cached=cached,
        val_share=0.01,
    )
    data.ensure_open()
    return data


def compare(folder: Path, source: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Images per second of each loader, round by round."""
    plain_folder = folder / "plain"
    unpack(open_data(folder, source, options), plain_folder, options.images)
    data = open_data(folder, str(plain_folder), options)
    cached = open_data(folder, str(plain_folder), options, cached=True)
    torchvision = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    settings = {"batch_size": options.batch_size, "shuffle": True, "drop_last": True, "num_workers": options.workers}
    # Processes take a second to start, which no long run notices: they are kept, and the first round does not count.
    plain = DataLoader(ImageFolder(str(plain_folder), torchvision), persistent_workers=True, **settings)
    processes = DataLoader(InProcesses(data), persistent_workers=True, **settings)
    loaders: dict[str, Callable[[], Iterator[Any]]] = {
        "suite": lambda: batches_of(data),
        "folder": lambda: iter(plain),
        "processes": lambda: iter(processes),
        "cached": lambda: batches_of(cached),
    }
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for counted in [False] + [True] * options.rounds:
        for name, loader in loaders.items():
            start = time.perf_counter()
            images = sum(len(batch[1]) for batch in loader())
            if counted:
                rates[name].append(images / (time.perf_counter() - start))
    return rates


def batches_of(data: ImageData) -> Iterator[Any]:
    """One epoch of the suite's batches."""
    return (micro for block in data.blocks(data.plan(), 0) for step in block for micro in step)


def unpack(data: ImageData, folder: Path, count: int) -> None:
    """Write encoded images as class folders, which both loaders read."""
    images = data.of_split("train")
    for number in range(min(len(images), count)):
        encoded = images.read(number)
        path = folder / f"class_{encoded.label:05d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.data)


def report(name: str, rates: dict[str, list[float]]) -> None:
    """Print one line."""

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates["suite"], rates[other], strict=True))

    suite, folder, processes, cached = (statistics.median(rates[key]) for key in rates)
    print(
        f"{name:28}{suite:8.0f}{folder:13.0f}{ratio('folder'):7.2f}"
        f"{processes:14.0f}{ratio('processes'):7.2f}{cached:9.0f}"
    )


if __name__ == "__main__":
    main()
