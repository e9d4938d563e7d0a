"""Images in webdataset shards, as timm lays datasets out: tar files, and ``_info.json`` with the splits.

``_info.json`` names each split's shards and their lengths, so that samples have numbers before any shard is opened.
A folder without it is read by its ``*.tar`` files. Local shards are indexed once, remote ones when they are fetched.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from tasks.kinds.images.encoded import Encoded, Images, digest
from tasks.kinds.images.storage import Folder, Remote
from tasks.kinds.images.tar_index import ShardIndex, index_tar, load_index, save_index
from tasks.kinds.left_out import LeftOut
from tasks.kinds.local_files import readable
from tasks.kinds.prepared_folder import only_process

INFO = "_info.json"
CLASS_NAMES = "classes.txt"
VALIDATION = ("validation", "val", "valid", "test")
"""Names that a validation split may have; the first of them that exists is used."""

_WORD = re.compile(r"[a-z]+")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardSplit:
    """Shards of one split.

    Attributes:
        names: names of the files.
        lengths: number of samples in each; None: unknown.
    """

    names: tuple[str, ...]
    lengths: tuple[int, ...] | None


def read_info(storage: Folder | Remote) -> tuple[dict[str, ShardSplit], int | None]:
    """Read ``_info.json``, or the names of the tar files.

    Returns:
        The splits, ``train`` and ``val`` where there is one, and the number of classes, None if it is not written.

    Raises:
        ValueError: there is neither, or the file has another form.
    """
    written, class_names = _read_if_there(storage, INFO), _read_if_there(storage, CLASS_NAMES)
    classes = None if class_names is None else len(class_names.rstrip().splitlines())
    if written is None:
        return _splits_by_name([name for name in storage.walked().files if is_shard(name)], storage), classes
    try:
        info = json.loads(written)
        splits = {
            name: ShardSplit(tuple(split["filenames"]), tuple(int(n) for n in split["shard_lengths"]))
            for name, split in info["splits"].items()
        }
        if "train" not in splits or any(len(s.names) != len(s.lengths or ()) for s in splits.values()):
            raise KeyError("train" if "train" not in splits else "one of shard_lengths for each of filenames")
        if any(
            PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts
            for s in splits.values()
            for name in s.names
        ):
            raise ValueError("names of files below its folder")
        counts = info["splits"]["train"].get("class_counts")
        classes = classes or info.get("num_classes") or (None if counts is None else len(counts))
        if not isinstance(classes, int | None):
            raise TypeError(f"num_classes {classes!r}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{INFO} in {storage} must give splits with filenames and shard_lengths, a split train among them, but it "
            f"does not ({type(error).__name__}: {error}); mend it or take it away, then all *.tar files are read."
        ) from error
    validation = next((splits[name] for name in VALIDATION if name in splits), None)
    used = Counter(splits["train"].names + (() if validation is None else validation.names))
    twice = [name for name, times in used.items() if times > 1]
    if twice:
        raise ValueError(
            f"{INFO} in {storage} must name every shard once, in the training or the validation split, but {twice[0]} "
            "is there twice; mend it."
        )
    return {"train": splits["train"]} | ({} if validation is None else {"val": validation}), classes


def named_in_info(storage: Folder | Remote) -> set[str]:
    """The shards of all splits in ``_info.json``, of unused ones too; none where there is no such file."""
    written = _read_if_there(storage, INFO)
    splits = {} if written is None else json.loads(written)["splits"]
    return {name for split in splits.values() for name in split["filenames"]}


def is_shard(name: str) -> bool:
    """Whether a file of this name is read as a shard."""
    return name.lower().endswith(".tar")


def _read_if_there(storage: Folder | Remote, name: str) -> bytes | None:
    try:
        return storage.read(name)
    except FileNotFoundError:
        return None


def _splits_by_name(tars: Sequence[str], storage: Folder | Remote) -> dict[str, ShardSplit]:
    if not tars:
        raise ValueError(
            f"data.source must hold images (webdataset shards *.tar that are not packed, or one folder per class), but "
            f"{storage} holds none; set it to another folder."
        )
    held_out = [name for name in tars if set(_WORD.findall(name.lower())) & set(VALIDATION)]
    train = [name for name in tars if name not in held_out]
    splits = {"train": ShardSplit(tuple(train), None)}
    return splits | ({"val": ShardSplit(tuple(held_out), None)} if held_out and train else {})


def hold_out_shards(split: ShardSplit, count: int) -> dict[str, ShardSplit]:
    """Make the last ``count`` shards the validation split.

    Raises:
        ValueError: nothing would be left to train on.
    """
    if not 0 < count < len(split.names):
        raise ValueError(
            f"Shards without a validation split must be more than the {count} that are held out, got "
            f"{len(split.names)}; cut the data into more shards or lower data.val_share."
        )
    lengths = split.lengths or ()
    return {
        "train": ShardSplit(split.names[:-count], lengths[:-count] or None),
        "val": ShardSplit(split.names[-count:], lengths[-count:] or None),
    }


class Shards(Images):
    """One split's samples in shards.

    Args:
        storage: where they lie.
        split: their names, and lengths where known.
        indices: folder that keeps indices of members.
        classes: number of classes, which bounds the labels; None: unknown.
        threads: number of shards that are indexed at a time.

    Raises:
        ValueError: a shard is missing, damaged or not as long as is written, or a label is out of range.
    """

    def __init__(
        self,
        storage: Folder | Remote,
        split: ShardSplit,
        *,
        indices: Path,
        classes: int | None = None,
        threads: int = 1,
    ) -> None:
        self.storage = storage
        self.names = split.names
        self.classes = classes
        self.indices = indices
        self.lengths_written = split.lengths
        self.threads = threads
        self._indices: dict[int, ShardIndex] = {}
        self._is_indexed_late = split.lengths is not None and storage.remote
        if self._is_indexed_late:
            assert split.lengths is not None
            self.lengths = split.lengths
        else:
            self.lengths = tuple(len(index) for index in self._all())
        self._ends = np.cumsum(self.lengths)

    def read(self, number: int, *, alone: bool = False) -> Encoded:
        """One image; with ``alone`` its bytes are fetched alone where its shard, indexed before, is not cached."""
        shard, row = self._find(number)
        index = self._index(shard)
        offset, size = int(index.offsets[row]), int(index.sizes[row])
        with self._readable(self.names[shard]):
            data = self.storage.read_part(self.names[shard], offset, size, alone=alone)
        return Encoded(data, int(index.labels[row]), self._key(shard, row))

    def key(self, number: int) -> str:
        """Shard and name of an image."""
        return self._key(*self._find(number))

    def labels(self) -> np.ndarray:
        """All classes, int64 ``[samples]``."""
        return np.concatenate([index.labels for index in self._all()])

    def without_image(self) -> list[str]:
        """Names of classes that have no image which is read; none of shards that say so when they are indexed."""
        indices = [] if self._is_indexed_late else self._all()
        return [
            f"{name}:{key}" for name, index in zip(self.names, indices, strict=False) for key in index.without_image
        ]

    def identity(self) -> list[str]:
        """Shards, their sizes, and their members where they are local (elsewhere, how many they are)."""
        lines = []
        for shard, (name, length) in enumerate(zip(self.names, self.lengths, strict=True)):
            content = str(length)
            if not self.storage.remote:
                index = self._index(shard)
                members = digest(index.keys, index.offsets, index.sizes, index.labels)
                content = f"{self.storage.size(name)} {members}"
            lines.append(f"{name} {content}")
        return lines

    def fetch_soon(self, numbers: np.ndarray) -> None:
        """Fetch the shards of these samples in the background, if they are remote."""
        if self.storage.remote:
            for shard in np.unique(np.searchsorted(self._ends, numbers, side="right")):
                self.storage.fetch_soon(self.names[shard])

    def _find(self, number: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, number, side="right"))
        return shard, int(number - self._ends[shard] + self.lengths[shard])

    def _key(self, shard: int, row: int) -> str:
        return f"{self.names[shard]}:{self._index(shard).keys[row]}"

    def _all(self) -> list[ShardIndex]:
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(self._index, range(len(self.names))))

    def _index(self, shard: int) -> ShardIndex:
        if shard not in self._indices:
            self._indices[shard] = self._make_index(shard)
        return self._indices[shard]

    def _make_index(self, shard: int) -> ShardIndex:
        name = self.names[shard]
        kept = self._kept(name)
        index = load_index(kept)
        if index is None:
            with only_process(kept):
                index = load_index(kept)
                if index is None:
                    index = self._read_tar(name)
                    save_index(index, kept)
        if self.lengths_written is not None and len(index) != self.lengths_written[shard]:
            raise ValueError(
                f"The shard {name} must hold {self.lengths_written[shard]} images as {INFO} says, got {len(index)}; "
                f"fetch it again from where {self.storage} came from, or mend {INFO}."
            )
        if self._is_indexed_late:
            left_out = LeftOut()
            left_out.add("classes without an image", index.without_image)
            left_out.say(f"{self.storage}/{name}", len(index), "images")
        _check_labels(index, self.classes, f"{self.storage}/{name}")
        return index

    def _read_tar(self, name: str) -> ShardIndex:
        _log.info("Indexing %s in %s.", name, self.storage)
        while True:
            path = self.storage.local(name)
            try:
                with self._readable(name):
                    return index_tar(path)
            except FileNotFoundError:  # deleted from the cache in between, to make room
                continue

    def _readable(self, name: str) -> AbstractContextManager[None]:
        # A remote shard that is gone from the cache is fetched again.
        return nullcontext() if self.storage.remote else readable(Path(str(self.storage), name))

    def _kept(self, name: str) -> Path:
        what = f"{self.storage}/{name}"
        if not self.storage.remote:
            state = self.storage.local(name).stat()
            what += f" {state.st_size} {state.st_mtime_ns}"
        return self.indices / f"{hashlib.sha256(os.fsencode(what)).hexdigest()[:20]}.npz"


def _check_labels(index: ShardIndex, classes: int | None, where: str) -> None:
    wrong = np.flatnonzero((index.labels < 0) | (index.labels >= (np.inf if classes is None else classes)))
    if len(wrong):
        below = "" if classes is None else f" and below {classes}"
        raise ValueError(
            f"Every class must be 0 or more{below}, got {index.labels[wrong[0]]} for {index.keys[wrong[0]]} in "
            f"{where}; mend the shard or raise data.classes."
        )
