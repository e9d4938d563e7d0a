"""Tokenizing a stream of pieces: worker processes receive chunks of text and return 16-bit ids as bytes.

The ids do not depend on the number of workers. Workers import this module and the tokenizer, and neither imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

from tasks.kinds.text.documents import Piece
from tasks.kinds.text.tokenizer import Tokenizer
from tasks.kinds.worker_processes import in_processes

CHUNK_CHARACTERS = 1 << 19
"""Least number of characters in a chunk, which consists of whole pieces; the last chunk may have fewer."""

SERIAL_CHUNKS = 8
"""Up to so many chunks are tokenized in this process, in less time than workers take to start."""


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


def encode_pieces(tokenizer: Tokenizer, pieces: list[Piece]) -> Ids:
    """Tokenize some pieces of text in this process."""
    texts = [piece.text for piece in pieces]
    arrays = tokenizer.encode(texts)
    return Ids(
        ids=b"".join(array.tobytes() for array in arrays),
        tokens=[len(array) for array in arrays],
        text_bytes=[len(text.encode()) for text in texts],
    )


def encode_stream(tokenizer: Tokenizer, pieces: Iterator[Piece], workers: int) -> Iterator[tuple[list[Piece], Ids]]:
    """Tokenize a stream, in order: consecutive pieces and their ids.

    Args:
        tokenizer: sent to every worker.
        pieces: read in this process, a few chunks ahead of what is returned.
        workers: processes; 1 works in this process, as does a corpus of at most `SERIAL_CHUNKS` chunks.

    Raises:
        ValueError: a worker process died.
    """
    encode = partial(encode_pieces, tokenizer)
    chunks = chunked(pieces)
    if workers > 1:
        first = list(islice(chunks, SERIAL_CHUNKS + 1))
        chunks = chain(first, chunks)
        if len(first) > SERIAL_CHUNKS:
            yield from in_processes(encode, chunks, workers, until="the text is tokenized")
            return
    for chunk in chunks:
        yield chunk, encode(chunk)
