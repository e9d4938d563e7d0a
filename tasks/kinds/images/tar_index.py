"""Which samples does a webdataset shard hold, and where in the tar file do their bytes lie?

A sample is the members of equal name up to the first dot: an image (``key.jpg``) and its class (``key.cls``, a decimal
number), as timm writes ImageNet; other members are passed over. With the index a sample is read by its number.
"""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tasks.kinds.prepared_folder import full_disk_explained

IMAGE_EXTENSIONS = frozenset(["jpg", "jpeg", "png", "webp", "bmp"])
LABEL_EXTENSION = "cls"


class ShardIndex(NamedTuple):
    """The n samples of one shard, in stored order.

    Attributes:
        keys: name of each sample, str ``[n]``.
        offsets: first byte of each image in the tar file, int64 ``[n]``.
        sizes: bytes of each image, int64 ``[n]``.
        labels: class of each image, int64 ``[n]``.
    """

    keys: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)


def index_tar(path: Path) -> ShardIndex:
    """Read the headers and classes of a shard.

    Raises:
        ValueError: the tar file ends early or is none, or a sample has no image or no class; the message names it.
    """
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    size = path.stat().st_size
    try:
        with open(path, "rb") as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"it ends within {member.name}")
                key, extension = _split_name(member.name)
                if extension == LABEL_EXTENSION:
                    labels[key] = _read_label(raw, member, path)
                elif extension in IMAGE_EXTENSIONS:
                    images[key] = member
            if size - tar.offset < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("it has no end mark")
    except tarfile.TarError as error:
        raise ValueError(
            f"{path} must be a whole tar file, but it is cut off or damaged ({error}); copy it again or take it out of "
            "data.source."
        ) from error
    unlabelled = [key for key in images if key not in labels]
    if unlabelled or not images:
        problem = f"{unlabelled[0]} has none" if unlabelled else "it holds no image"
        raise ValueError(
            f"Every image of the shard {path} must have its class beside it (key.jpg and key.cls), but {problem}; mend "
            "the shard or take it out of data.source."
        )
    members = images.values()
    return ShardIndex(
        np.array(list(images), dtype=np.str_),
        np.array([m.offset_data for m in members], dtype=np.int64),
        np.array([m.size for m in members], dtype=np.int64),
        np.array([labels[key] for key in images], dtype=np.int64),
    )


def save_index(index: ShardIndex, path: Path) -> None:
    """Write an index as a file that `load_index` reads, in one step.

    Raises:
        ValueError: the disk is full.
    """
    partial = path.with_name(f"partial-{path.name}")
    try:
        with full_disk_explained(path.parent, kept=True):
            np.savez(partial, **index._asdict())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_index(path: Path) -> ShardIndex | None:
    """Read what `save_index` wrote; None when there is nothing or it is damaged."""
    try:
        with np.load(path) as arrays:
            return ShardIndex(**{name: arrays[name] for name in ShardIndex._fields})
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile):
        return None


def _split_name(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension.lower()


def _read_label(raw: BinaryIO, member: tarfile.TarInfo, path: Path) -> int:
    # The tar reader seeks to each header itself, so that the position need not be kept.
    raw.seek(member.offset_data)
    text = raw.read(member.size)
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(
            f"A class must be a decimal number, got {text[:20]!r} in {member.name} of {path}; mend the shard or take "
            "it out of data.source."
        ) from error
