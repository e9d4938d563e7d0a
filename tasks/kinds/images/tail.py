"""The heavy-tailed subset of a source; of remote shards it is fetched once, into a shard of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from tasks.kinds.images.encoded import Chosen, Encoded, digest
from tasks.kinds.images.heavy_tail import heavy_tailed
from tasks.kinds.images.shard_writer import write_info, write_shard
from tasks.kinds.images.shards import Shards, read_info
from tasks.kinds.images.sources import ImageSource
from tasks.kinds.images.storage import Folder
from tasks.kinds.prepared_folder import prepare_folder

SHARD = "selected.tar"
_AT_A_TIME = 64


def tail_of(source: ImageSource, head_images: int | None, data_dir: Path, *, threads: int) -> ImageSource:
    """The same source with the heavy-tailed subset of its training images.

    To choose, all classes must be known: every remote shard is fetched once and indexed, and may then be deleted from
    the cache. The chosen images are taken from it or fetched one by one. A second preparation fetches nothing.

    Args:
        source: whose validation split stays.
        head_images: images of the most frequent class; None: all that it has.
        data_dir: folder for prepared data.
        threads: images fetched at a time.
    """
    whole = source.train
    numbers = heavy_tailed(whole.labels(), head_images=head_images)
    if not (isinstance(whole, Shards) and whole.storage.remote):
        return ImageSource(Chosen(whole, numbers), source.val, source.classes)
    folder = data_dir / f"heavy-tail-{digest(whole.identity(), numbers)[:10]}"
    _fetch(whole, numbers, folder, classes=source.classes, threads=threads)
    split = read_info(Folder(folder)).splits["train"]
    train = Shards(Folder(folder), split, indices=whole.indices, classes=source.classes)
    return ImageSource(train, source.val, source.classes)


def _fetch(images: Shards, numbers: np.ndarray, folder: Path, *, classes: int, threads: int) -> None:
    def work(working: Path) -> None:
        count = write_shard(working / SHARD, _samples(images, numbers, threads))
        write_info(working, {"train": {SHARD: count}}, classes=classes)

    prepare_folder(folder, work, goes_on=False)


def _samples(images: Shards, numbers: np.ndarray, threads: int) -> Iterator[Encoded]:
    ordered = iter(numbers.tolist())
    with ThreadPoolExecutor(threads) as pool:
        # In portions: what is fetched and not written yet stays small.
        while portion := list(islice(ordered, _AT_A_TIME)):
            for encoded in pool.map(images.read_alone, portion):
                yield encoded._replace(key=encoded.key.partition(":")[2])
