"""Work on a stream of items by several processes, in order, with little in memory at a time."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, *, until: str
) -> Iterator[tuple[Item, Result]]:
    """Each item with what ``function`` makes of it, in the items' order.

    Workers are started fresh, not forked, because this process may hold threads of torch.

    Args:
        function: what is done with an item; it is sent to every worker once.
        items: taken in this process, a few ahead of what is returned.
        workers: processes.
        until: what the workers must live to finish, a clause for the message when one dies.

    Raises:
        ValueError: a worker process died.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(function,))
    pending: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            pending.append((item, pool.submit(_apply, item)))
            # Enough work in flight that no worker waits for this process; little enough to bound memory.
            if len(pending) > 3 * workers:
                done, future = pending.popleft()
                yield done, future.result()
        for done, future in pending:
            yield done, future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            f"All {workers} worker processes must live until {until}, but one died (often for lack of memory); lower "
            "data.num_workers and start again, what is done so far is kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_function: Callable[[Any], Any]
"""What a worker process does with an item."""


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    # One core per worker: a library's own threads would compete for the cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed parent cannot tell its workers to stop, and their queue would stay open for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _apply(item: Any) -> Any:
    return _function(item)
