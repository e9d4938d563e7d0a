"""Encoded images by number: the interface of every source of images, whatever its storage format."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Encoded(NamedTuple):
    """One image as it is stored.

    Attributes:
        data: the bytes of a JPEG, PNG, ... file.
        label: its class.
        key: its name, for messages.
    """

    data: bytes
    label: int
    key: str


class Images:
    """One split of a source.

    Attributes:
        lengths: samples in each shard; a source without shards counts as one shard.
    """

    lengths: tuple[int, ...]

    def __len__(self) -> int:
        """Number of samples."""
        return sum(self.lengths)

    def read(self, number: int) -> Encoded:
        """One image; safe from several threads at once."""
        raise NotImplementedError

    def key(self, number: int) -> str:
        """Name of an image."""
        raise NotImplementedError

    def labels(self) -> np.ndarray:
        """All classes, int64 ``[samples]``; what is remote is fetched for it."""
        raise NotImplementedError

    def identity(self) -> list[str]:
        """Lines that change when the images do."""
        raise NotImplementedError

    def fetch_soon(self, numbers: np.ndarray) -> None:
        """Announce samples (int64 ``[n]``) that will be read; a remote source fetches them in the background."""


class Chosen(Images):
    """Some samples of another source.

    Args:
        images: the source.
        numbers: numbers of the chosen samples, int64 ``[n]``, ascending.
    """

    def __init__(self, images: Images, numbers: np.ndarray) -> None:
        self.images = images
        self.numbers = numbers
        self.lengths = (len(numbers),)

    def read(self, number: int) -> Encoded:
        """One image."""
        return self.images.read(int(self.numbers[number]))

    def key(self, number: int) -> str:
        """Name of an image."""
        return self.images.key(int(self.numbers[number]))

    def labels(self) -> np.ndarray:
        """All classes, int64 ``[samples]``."""
        return self.images.labels()[self.numbers]

    def identity(self) -> list[str]:
        """The source's lines, and which samples are chosen."""
        return [*self.images.identity(), digest(self.numbers)]

    def fetch_soon(self, numbers: np.ndarray) -> None:
        """See `Images.fetch_soon`."""
        self.images.fetch_soon(self.numbers[numbers])


def digest(*arrays: np.ndarray | Sequence[str]) -> str:
    """Checksum of the values of arrays, independent of their integer width."""
    content = hashlib.sha256()
    for array in arrays:
        if isinstance(array, np.ndarray) and array.dtype.kind in "iu":
            content.update(np.ascontiguousarray(array, dtype="<i8").data)
        else:
            content.update("\n".join(map(str, array)).encode(errors="surrogateescape"))
        content.update(b"\0")
    return content.hexdigest()
