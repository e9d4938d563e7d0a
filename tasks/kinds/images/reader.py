"""Decoding by several threads, and what becomes of images that cannot be decoded.

Decoding and resizing run outside Python's global lock, so that threads are as good as processes and pixels need not
be copied between them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from tasks.kinds.images.decode import Undecodable
from tasks.kinds.images.encoded import Images

NAMED = 5
"""So many corrupt images are named in an error."""

_log = logging.getLogger(__name__)

Decoder = Callable[[bytes], Tensor]
"""From encoded bytes to uint8 ``[3, S, S]``."""


class CorruptImages:
    """Counts and names images that cannot be decoded, up to a limit.

    Args:
        limit: so many are passed over.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, key: str, reason: str) -> None:
        """Note one image; the same one again does not count.

        Raises:
            ValueError: there are more than the limit.
        """
        with self._lock:
            if key in self.reasons:
                return
            self.reasons[key] = reason
            _log.warning("Passed over %s, which cannot be decoded (%s); %d so far.", key, reason, len(self.reasons))
            if len(self.reasons) > self.limit:
                named = ", ".join(list(self.reasons)[:NAMED])
                raise ValueError(
                    f"At most {self.limit} images may be impossible to decode, got {len(self.reasons)} ({named}"
                    f"{', ...' if len(self.reasons) > NAMED else ''}); mend data.source or raise data.max_corrupt."
                )

    def restore(self, reasons: Mapping[str, str]) -> None:
        """Take over what an earlier pass over the same images found.

        Raises:
            ValueError: there are more than the limit.
        """
        for key, reason in reasons.items():
            self.add(key, reason)

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock, which belongs to one process."""
        return {"limit": self.limit, "reasons": self.reasons}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """With a lock of its own."""
        self.__dict__.update(state, _lock=threading.Lock())


class Reader:
    """Decodes images of one source with a pool of threads.

    An image that cannot be decoded is replaced by the next one in stored order that can, label included: a function
    of the data alone.

    Args:
        corrupt: counts them.
        threads: decoding at a time.
    """

    def __init__(self, corrupt: CorruptImages, threads: int) -> None:
        self.corrupt = corrupt
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    def __getstate__(self) -> dict[str, Any]:
        """Without the threads, which belong to one process."""
        return {"corrupt": self.corrupt, "threads": self.threads, "_pool": None, "_pid": 0}

    def read(self, images: Images, numbers: Sequence[int], decoders: Iterable[Decoder]) -> tuple[Tensor, Tensor]:
        """Decode several images.

        Args:
            images: the source.
            numbers: of the samples, n of them.
            decoders: one per sample.

        Returns:
            Pixels uint8 ``[n, 3, S, S]`` and labels int64 ``[n]``.

        Raises:
            ValueError: too many images are corrupt.
        """
        images_read = list(
            self._threads().map(lambda args: self._one(images, *args), zip(numbers, decoders, strict=False))
        )
        return torch.stack([pixels for pixels, _ in images_read]), torch.tensor([label for _, label in images_read])

    def _one(self, images: Images, number: int, decoder: Decoder) -> tuple[Tensor, int]:
        for candidate in range(number, number + len(images)):
            encoded = images.read(candidate % len(images))
            try:
                return decoder(encoded.data), encoded.label
            except Undecodable as error:
                self.corrupt.add(encoded.key, str(error))
        raise ValueError("At least one image of data.source must be possible to decode, got none; mend data.source.")

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pid != os.getpid():  # threads do not survive a fork
            self._pool, self._pid = ThreadPoolExecutor(self.threads, thread_name_prefix="decode"), os.getpid()
        return self._pool
