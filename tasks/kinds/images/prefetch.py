"""The next items of an iterator are made while the current one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def prefetched(source: Iterable[T], depth: int) -> Iterator[T]:
    """The items of ``source``, made by a thread that runs ahead.

    An error in ``source`` is raised where its item would have come. The thread ends when the iterator is closed.

    Args:
        source: iterated once.
        depth: items made, or being made, beyond the one that is in use.
    """
    made: queue.Queue[tuple[str, Any]] = queue.Queue()
    room = threading.Semaphore(depth + 1)
    closed = threading.Event()

    def make() -> None:
        try:
            room.acquire()
            for item in source:
                made.put(("item", item))
                del item
                room.acquire()
                if closed.is_set():
                    return
            made.put(("end", None))
        except BaseException as error:
            made.put(("error", error))

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, content = made.get()
            if kind == "error":
                raise content
            if kind == "end":
                return
            yield content
            del content
            room.release()
    finally:
        closed.set()
        room.release()
        thread.join()
