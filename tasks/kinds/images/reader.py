"""Decoding by several threads, and what becomes of images that cannot be decoded.

Decoding and resizing run outside Python's global lock, so that threads are as good as processes and pixels need not
be copied between them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from tasks.kinds.images.decode import Undecodable
from tasks.kinds.images.encoded import Images

NAMED = 5
"""Largest number of corrupt images that an error names."""

_log = logging.getLogger(__name__)

Decoder = Callable[[bytes], Tensor]
"""From encoded bytes to uint8 ``[3, S, S]``."""


class Reader:
    """Decodes images of one source with several threads.

    An image that cannot be decoded is replaced by the next one in stored order that can, label included: a function
    of the data alone.

    Args:
        max_corrupt: largest number of images that may be passed over because they cannot be decoded.
        threads: number of decoding threads.

    Attributes:
        corrupt: reason why an image cannot be decoded, by the image's name.
    """

    def __init__(self, max_corrupt: int, threads: int) -> None:
        self.max_corrupt = max_corrupt
        self.threads = threads
        self.corrupt: dict[str, str] = {}

    def note_corrupt(self, key: str, reason: str) -> None:
        """Note one image; the same one again does not count.

        Raises:
            ValueError: there are more than the limit.
        """
        if key in self.corrupt:
            return
        self.corrupt[key] = reason
        _log.warning("Passed over %s, which cannot be decoded (%s); %d so far.", key, reason, len(self.corrupt))
        if len(self.corrupt) > self.max_corrupt:
            named = ", ".join(list(self.corrupt)[:NAMED])
            raise ValueError(
                f"At most {self.max_corrupt} images may be impossible to decode, got {len(self.corrupt)} ({named}"
                f"{', ...' if len(self.corrupt) > NAMED else ''}); mend data.source or raise data.max_corrupt."
            )

    def restore(self, corrupt: Mapping[str, str]) -> None:
        """Take over the corrupt images that an earlier pass over the same images recorded.

        Raises:
            ValueError: there are more than the limit.
        """
        for key, reason in corrupt.items():
            self.note_corrupt(key, reason)

    def read(self, images: Images, numbers: Sequence[int], decoders: Iterable[Decoder]) -> tuple[Tensor, Tensor]:
        """Decode several images.

        Args:
            images: the source.
            numbers: numbers of the n samples.
            decoders: one decoder per sample.

        Returns:
            Pixels uint8 ``[n, 3, S, S]`` and labels int64 ``[n]``.

        Raises:
            ValueError: too many images are corrupt.
        """
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            read = list(pool.map(partial(self._one, images), numbers, decoders))
        return torch.stack([pixels for pixels, _ in read]), torch.tensor([label for _, label in read])

    def _one(self, images: Images, number: int, decoder: Decoder) -> tuple[Tensor, int]:
        for candidate in range(number, number + len(images)):
            encoded = images.read(candidate % len(images))
            try:
                return decoder(encoded.data), encoded.label
            except Undecodable as error:
                self.note_corrupt(encoded.key, str(error))
        raise ValueError("At least one image of data.source must be possible to decode, got none; mend data.source.")
