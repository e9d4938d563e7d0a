"""The next items of an iterator are made while the current one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

T = TypeVar("T")

_END = object()


def prefetched(source: Iterable[T], depth: int) -> Iterator[T]:
    """The items of ``source``, made by a thread that runs ahead.

    An error in ``source`` is raised where its item would have come. The thread ends when the iterator is closed.

    Args:
        source: iterated once.
        depth: items made, or being made, beyond the one that is in use.
    """
    made = iter(source)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        coming = deque(pool.submit(next, made, _END) for _ in range(depth))
        while (item := coming.popleft().result()) is not _END:
            coming.append(pool.submit(next, made, _END))
            yield cast(T, item)
            del item
    finally:
        pool.shutdown(cancel_futures=True)
