"""Which images does ``data.source`` name? Shards behind a URL or in a folder, or class folders, with their splits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tasks.kinds.images.digits import digit_shards
from tasks.kinds.images.encoded import Chosen, Images, digest
from tasks.kinds.images.shards import CLASS_NAMES, INFO, Shards, hold_out_shards, is_shard, named_in_info, read_info
from tasks.kinds.images.storage import Folder, Remote
from tasks.kinds.images.tree import is_image, tree_splits
from tasks.kinds.left_out import LeftOut
from tasks.kinds.local_files import note_unread, walk

SPLIT_SEED = 0
MOST_CLASSES = 1_000_000
"""More are not believed unless they are asked for."""


@dataclass(frozen=True)
class ImageSource:
    """Images of a dataset.

    Attributes:
        train: training split.
        val: validation split.
        classes: number of classes.
    """

    train: Images
    val: Images
    classes: int

    def fingerprint(self) -> str:
        """Checksum over the splits' identities and the number of classes."""
        return digest([str(self.classes), "train", *self.train.identity(), "val", *self.val.identity()])


@dataclass(frozen=True)
class PaperShards:
    """The shards that ``data.source: paper`` means.

    Attributes:
        url: folder of the shards.
        classes: number of classes.
        held_out: number of shards at the end that become the validation split; None: it has a validation split.
    """

    url: str
    classes: int
    held_out: int | None = None


def open_source(
    source: str,
    paper: PaperShards | None,
    data_dir: Path,
    *,
    val_share: float,
    classes: int | None,
    cache_gb: float | None,
    threads: int,
) -> ImageSource:
    """Open what ``data.source`` names.

    Args:
        source: ``paper``, ``sample``, a URL or a path.
        paper: what ``paper`` means.
        data_dir: folder for prepared data.
        val_share: share that is held out where there is no validation split.
        classes: number of classes; None: as the source says.
        cache_gb: bound on remote shards kept locally, in 1e9 bytes; None: all are kept.
        threads: shards indexed at a time.

    Raises:
        ValueError: there is no such source, or it cannot be used; the message says why.
    """
    url, held_out = source, None
    if source == "paper":
        if paper is None:
            raise ValueError("data.source paper is not known for this dataset; set it to sample or to a path.")
        url, held_out, classes = paper.url, paper.held_out, classes or paper.classes
    shards = partial(_open_shards, indices=data_dir / "shard-indices", val_share=val_share, threads=threads)
    left_out = LeftOut()
    if "://" in url:
        storage = Remote(url, data_dir / f"shards-{digest([url])[:10]}", cache_gb)
        opened = shards(storage, held_out=held_out, classes=classes)
        _note_beside_shards(storage, opened, left_out)
        left_out.say(storage, len(opened.train) + len(opened.val), "images")
        return opened
    if source != "sample" and not os.path.isdir(source):
        raise ValueError(
            f"data.source must be paper, sample, a URL or a folder of images, but there is no folder {source[:200]!r}; "
            "correct the path."
        )
    path = digit_shards(data_dir) if source == "sample" else Path(source)
    if _holds_shards(path):
        opened = shards(Folder(path), held_out=None, classes=classes)
        _note_beside_shards(Folder(path), opened, left_out)
    else:
        opened = _open_tree(path, val_share, classes, left_out)
    left_out.say(path, len(opened.train) + len(opened.val), "images")
    return opened


def _holds_shards(path: Path) -> bool:
    """Whether a folder is read as shards: it says so, has some at its top, or holds no loose images but shards."""
    names = walk(path).files
    is_tree = any("/" in name and is_image(name) for name in names)
    at_top = any(is_shard(name) and "/" not in name for name in names)
    return INFO in names or at_top or (not is_tree and (any(map(is_shard, names)) or not any("/" in n for n in names)))


def _note_beside_shards(storage: Folder | Remote, source: ImageSource, left_out: LeftOut) -> None:
    """Note the files that are no shards of the source, and the classes that have no image.

    A remote folder that names its shards is not listed: it may hold many thousand files of other datasets.
    """
    splits = [split for split in (source.train, source.val) if isinstance(split, Shards)]
    used = {INFO, CLASS_NAMES}.union(*(split.names for split in splits))
    named = named_in_info(storage)
    if not (storage.remote and named):
        note_unread(left_out, storage.walked(), (used | named).__contains__)
    left_out.add("of another split", sorted(named - used), lost=False)
    left_out.add("classes without an image", (name for split in splits for name in split.without_image()))


def _open_shards(
    storage: Folder | Remote,
    *,
    indices: Path,
    held_out: int | None,
    val_share: float,
    classes: int | None,
    threads: int,
) -> ImageSource:
    """Open a folder of webdataset shards; without a validation split, shards at the end are held out, one at least."""
    splits, written_classes = read_info(storage)
    if "val" not in splits:
        count = held_out or max(1, round(val_share * len(splits["train"].names)))
        splits = hold_out_shards(splits["train"], count)
    classes = classes or written_classes
    train, val = (
        Shards(storage, splits[split], indices=indices, classes=classes, threads=threads) for split in ("train", "val")
    )
    return ImageSource(train, val, classes or _classes_of(storage, train.labels(), val))


def _classes_of(storage: Folder | Remote, labels: np.ndarray, val: Shards) -> int:
    classes = int(labels.max()) + 1
    if classes > MOST_CLASSES:
        raise ValueError(
            f"The largest class in {storage} must be below {MOST_CLASSES} where data.classes is not set, got "
            f"{classes - 1}; mend the shard, or say how many classes there are with data.classes."
        )
    unknown = val.labels()
    if len(unknown) and unknown.max() >= classes:
        raise ValueError(
            f"The validation classes must be among the training classes 0 to {classes - 1}, got {unknown.max()} in "
            f"{storage}; say how many classes there are with data.classes."
        )
    return classes


def _open_tree(root: Path, val_share: float, classes: int | None, left_out: LeftOut) -> ImageSource:
    """Open one folder per class; without a validation split, images drawn by a fixed seed are held out."""
    splits = tree_splits(root, left_out)
    train: Images = splits["train"]
    folders = len(splits["train"].classes)
    if folders < 2 and classes is None:
        raise ValueError(
            f"data.source must be a folder with one folder per class, two at least, but {root} has "
            f"{splits['train'].classes[0]} alone; point it one folder deeper, or say with data.classes how many there "
            "are."
        )
    if classes is not None and classes < folders:
        raise ValueError(
            f"data.classes must be at least the {folders} class folders in {root}, got {classes}; raise it or set it "
            "to null."
        )
    if "val" in splits:
        return ImageSource(train, splits["val"], classes or folders)
    held_out = round(val_share * len(train))
    if not 0 < held_out < len(train):
        raise ValueError(
            f"Both splits must get an image, got {len(train)} images at data.val_share {val_share}; give more images "
            "or change data.val_share."
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(len(train))
    kept, held = Chosen(train, np.sort(order[held_out:])), Chosen(train, np.sort(order[:held_out]))
    return ImageSource(kept, held, classes or folders)
