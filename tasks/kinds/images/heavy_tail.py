"""The heavy-tailed subset of a source: the k-th class keeps ceil(1300 / k) images of ImageNet-1k.

The subset of remote shards is fetched once, into a shard of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from tasks.kinds.images.encoded import Chosen, Encoded, digest
from tasks.kinds.images.shard_writer import write_info, write_shard
from tasks.kinds.images.shards import Shards, read_info
from tasks.kinds.images.sources import ImageSource
from tasks.kinds.images.storage import Folder
from tasks.kinds.prepared_folder import prepare_folder

SEED = 42
"""Seed of the draw, independent of the runs' seeds."""

SHARD = "selected.tar"
_AT_A_TIME = 64


def heavy_tailed(labels: np.ndarray, *, head_images: int | None = None) -> np.ndarray:
    """Which images of a dataset make its heavy-tailed subset.

    Classes are ranked by their number of images, most first, equals by label. Of the class of rank k (from 1)
    ``ceil(head_images / k)`` images are drawn without replacement by numpy's ``default_rng(42)``, all of them where
    there are fewer. On ImageNet-1k that leaves 10,217 images (paper 1, section on heavy-tailed class imbalance; the
    construction is Kunstner et al. 2024's).

    Args:
        labels: class of each image, int64 ``[images]``.
        head_images: images that the most frequent class keeps; None: all that it has (1,300 in ImageNet-1k).

    Returns:
        Numbers of the chosen images, int64, ascending.
    """
    counts = np.bincount(labels)
    ranked = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    head = int(counts.max()) if head_images is None else head_images
    # One stable sort in place of a search per class.
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    rng = np.random.default_rng(SEED)
    chosen = []
    for rank, label in enumerate(ranked, start=1):
        keep = min(-(-head // rank), len(by_class[label]))
        chosen.append(rng.choice(by_class[label], keep, replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def tail_of(source: ImageSource, head_images: int | None, data_dir: Path, *, threads: int) -> ImageSource:
    """The same source with the heavy-tailed subset of its training images.

    To choose, all classes must be known: every remote shard is fetched once and indexed, and may then be deleted from
    the cache. The chosen images are taken from it or fetched one by one. A second preparation fetches nothing.

    Args:
        source: the source; its validation split stays as it is.
        head_images: images of the most frequent class; None: all that it has.
        data_dir: folder for prepared data.
        threads: images fetched at a time.
    """
    whole = source.train
    numbers = heavy_tailed(whole.labels(), head_images=head_images)
    if not (isinstance(whole, Shards) and whole.storage.remote):
        return ImageSource(Chosen(whole, numbers), source.val, source.classes)
    folder = data_dir / f"heavy-tail-{digest(whole.identity(), numbers)[:10]}"

    def work(working: Path) -> None:
        count = write_shard(working / SHARD, _samples(whole, numbers, threads))
        write_info(working, {"train": {SHARD: count}}, classes=source.classes)

    prepare_folder(folder, work, goes_on=False)
    splits, _ = read_info(Folder(folder))
    train = Shards(Folder(folder), splits["train"], indices=whole.indices, classes=source.classes)
    return ImageSource(train, source.val, source.classes)


def _samples(images: Shards, numbers: np.ndarray, threads: int) -> Iterator[Encoded]:
    ordered = iter(numbers.tolist())
    with ThreadPoolExecutor(threads) as pool:
        # In portions, so that few fetched images wait to be written.
        while portion := list(islice(ordered, _AT_A_TIME)):
            for encoded in pool.map(partial(images.read, alone=True), portion):
                yield encoded._replace(key=encoded.key.partition(":")[2])
