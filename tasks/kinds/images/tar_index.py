"""Which samples does a webdataset shard hold, and where in the tar file do their bytes lie?

A sample is an image (``key.jpg``) and its class (``key.cls``, a decimal number), as timm writes ImageNet; a key may
hold dots. Other members of a key (``key.json``, ``key.mask.png``) are passed over. With the index a sample is read by
its number.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tasks.kinds.local_files import is_hidden, packed_with
from tasks.kinds.prepared_folder import full_disk_explained

IMAGE_EXTENSIONS = frozenset(["jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "tif", "tiff"])
LABEL_EXTENSION = "cls"
_LABEL = re.compile(rb"\s*[+-]?[0-9]{1,18}\s*")


class ShardIndex(NamedTuple):
    """The n samples of one shard, in stored order.

    Attributes:
        keys: name of each sample, str ``[n]``.
        offsets: first byte of each image in the tar file, int64 ``[n]``.
        sizes: bytes of each image, int64 ``[n]``.
        labels: class of each image, int64 ``[n]``.
        without_image: names of the classes without an image that is read, str ``[m]``; they are no samples.
    """

    keys: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    without_image: np.ndarray

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)


def index_tar(path: Path) -> ShardIndex:
    """Read the headers and classes of a shard.

    Raises:
        ValueError: the tar file ends early or is none, one name is there twice, or an image has no class; the message
            names it.
    """
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    names: set[str] = set()
    size = path.stat().st_size
    try:
        with open(path, "rb") as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            for member in tar:
                if member.isdir() or any(is_hidden(part) for part in member.name.split("/") if part not in (".", "..")):
                    continue
                if member.isfile() and member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"it ends within {member.name}")
                key, _, extension = member.name.rpartition(".")
                if extension.lower() not in (LABEL_EXTENSION, *IMAGE_EXTENSIONS):
                    continue
                of_kind = labels if extension.lower() == LABEL_EXTENSION else images
                name = posixpath.normpath(member.name)  # `a.jpg` and `./a.jpg` are one file
                if key in of_kind or name in names or not member.isfile():
                    raise _ambiguous(path, member)
                names.add(name)
                if extension.lower() == LABEL_EXTENSION:
                    labels[key] = _read_label(raw, member, path)
                else:
                    images[key] = member
            if size - tar.offset < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("it has no end mark")
    except tarfile.TarError as error:
        with open(path, "rb") as raw:
            packed = packed_with(raw.read(8))
        raise ValueError(
            f"{path} must be a whole tar file, but it is "
            + (f"packed with {packed}; unpack it" if packed else f"cut off or damaged ({error}); copy it again")
            + " or take it out of data.source."
        ) from error
    # A mask or the like, key.mask.png, belongs to the sample key.
    samples = {key for key in images if key in labels}
    images = {key: member for key, member in images.items() if key in samples or samples.isdisjoint(_beginnings(key))}
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
        np.array([key for key in labels if key not in images], dtype=np.str_),
    )


def _ambiguous(path: Path, member: tarfile.TarInfo) -> ValueError:
    what = "there twice" if member.isfile() else "a link or a device"
    return ValueError(
        f"Every sample of the shard {path} must be one image and one class under a name of its own, but {member.name} "
        f"is {what}; write the shard anew."
    )


def _beginnings(name: str) -> list[str]:
    """The name up to each of its dots after the last slash."""
    first = name.rfind("/") + 1
    return [name[:at] for at in range(first, len(name)) if name[at] == "."]


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


def _read_label(raw: BinaryIO, member: tarfile.TarInfo, path: Path) -> int:
    # The tar reader seeks to each header itself, so that the position need not be kept.
    raw.seek(member.offset_data)
    text = raw.read(member.size)
    if not _LABEL.fullmatch(text):
        raise ValueError(
            f"A class must be a decimal number, got {text[:20]!r} in {member.name} of {path}; mend the shard or take "
            "it out of data.source."
        )
    return int(text)
