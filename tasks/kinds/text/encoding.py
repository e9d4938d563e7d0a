"""Tokenizing a stream of pieces: worker processes receive chunks of text and return 16-bit ids as bytes.

The ids do not depend on the number of workers. Workers are started fresh, not forked, because the parent may
hold threads of torch; they import this module and the tokenizer, and neither imports torch.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.connection import wait
from typing import NamedTuple

from tasks.kinds.text.documents import Piece
from tasks.kinds.text.tokenizer import Tokenizer

CHUNK_CHARACTERS = 1 << 19
"""A chunk is the first so many characters or more, in whole pieces."""

SERIAL_CHUNKS = 8
"""A corpus of at most so many chunks is done before workers would have started."""


class Ids(NamedTuple):
    """Ids of consecutive texts.

    Attributes:
        ids: little-endian uint16, as bytes.
        tokens: number of ids of each text.
        text_bytes: UTF-8 length of each text.
    """

    ids: bytes
    tokens: list[int]
    text_bytes: list[int]


class EncodedChunk(NamedTuple):
    """A chunk and its ids.

    Attributes:
        pieces: consecutive pieces of text.
        encoded: their ids.
    """

    pieces: list[Piece]
    encoded: Ids


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunked(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Group pieces; the grouping depends only on where the stream starts."""
    chunk: list[Piece] = []
    characters = 0
    for piece in pieces:
        chunk.append(piece)
        characters += len(piece.text)
        if characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def encode_texts(tokenizer: Tokenizer, texts: list[str]) -> Ids:
    """Tokenize some texts in this process."""
    arrays = tokenizer.encode(texts)
    return Ids(
        ids=b"".join(array.tobytes() for array in arrays),
        tokens=[len(array) for array in arrays],
        text_bytes=[len(text.encode()) for text in texts],
    )


def encode_stream(tokenizer: Tokenizer, pieces: Iterator[Piece], workers: int) -> Iterator[EncodedChunk]:
    """Tokenize a stream, in order.

    Args:
        tokenizer: sent to every worker.
        pieces: read in this process, a few chunks ahead of what is returned.
        workers: processes; 1 works in this process, as does a corpus of at most `SERIAL_CHUNKS` chunks.

    Raises:
        ValueError: a worker process died.
    """
    chunks = chunked(pieces)
    if workers > 1:
        first = list(islice(chunks, SERIAL_CHUNKS + 1))
        chunks = chain(first, chunks)
        if len(first) > SERIAL_CHUNKS:
            yield from _encode_in_workers(tokenizer, chunks, workers)
            return
    for chunk in chunks:
        yield EncodedChunk(chunk, encode_texts(tokenizer, _texts(chunk)))


def _texts(chunk: list[Piece]) -> list[str]:
    return [piece.text for piece in chunk]


def _encode_in_workers(tokenizer: Tokenizer, chunks: Iterator[list[Piece]], workers: int) -> Iterator[EncodedChunk]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(tokenizer,))
    pending: deque[tuple[list[Piece], Future[Ids]]] = deque()
    try:
        for chunk in chunks:
            pending.append((chunk, pool.submit(_encode_in_worker, _texts(chunk))))
            # Enough work in flight that no worker waits for this process; little enough to bound memory.
            if len(pending) > 3 * workers:
                yield _finished(pending)
        while pending:
            yield _finished(pending)
    except BrokenProcessPool as error:
        raise ValueError(
            f"All {workers} worker processes must live until the text is tokenized, but one died (often for "
            "lack of memory); lower data.num_workers and start again, what is done so far is kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(pending: deque[tuple[list[Piece], Future[Ids]]]) -> EncodedChunk:
    chunk, future = pending.popleft()
    return EncodedChunk(chunk, future.result())


_worker_tokenizer: Tokenizer | None = None


def _start_worker(tokenizer: Tokenizer) -> None:
    global _worker_tokenizer
    _worker_tokenizer = tokenizer
    # One core per worker: the library's own threads would only fight over them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed parent cannot tell its workers to stop, and their queue would stay open for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _encode_in_worker(texts: list[str]) -> Ids:
    assert _worker_tokenizer is not None
    return encode_texts(_worker_tokenizer, texts)
