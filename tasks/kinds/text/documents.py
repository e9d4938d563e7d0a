"""Where text comes from: local files (.txt, .jsonl, .parquet; the first two also packed), read as a stream.

A source is read strictly in order and can be read again from any piece on, so that preparation can continue
after a kill. Files are never held in memory as a whole.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from tasks.kinds.local_files import PACKED, DamagedSource, LocalFiles, opened, readable, unpacked_name

LONGEST_PIECE = 1 << 24
"""Characters after which text without a space is cut all the same, for memory."""

_BLOCK_BYTES = 1 << 18
_BREAKS = " \n\t"
_HOLE = "\0" * 64


class Piece(NamedTuple):
    """Text that is tokenized on its own.

    Attributes:
        text: valid Unicode, so that it can be written as UTF-8.
        documents: 1 when it ends a document, 0 for the earlier pieces of a long one.
    """

    text: str
    documents: int


class Source:
    """A deterministic stream of text.

    Attributes:
        label: a short name for the prepared folder.
    """

    label: ClassVar[str]

    def identity(self) -> dict[str, Any]:
        """What decides the text, known without reading it."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """The identity and what is known only once the work has begun (a resolved revision), for the manifest."""
        return self.identity()

    def pinned(self, facts: dict[str, Any]) -> Source:
        """The source of the same text as when ``facts`` was recorded, to go on with an earlier preparation."""
        return self

    def text_bytes(self) -> int:
        """Expected size of the text in bytes, for the disk check."""
        raise NotImplementedError

    def pieces(self, skip: int = 0) -> Iterator[Piece]:
        """The text in order, without the first ``skip`` pieces."""
        raise NotImplementedError


@dataclass(frozen=True)
class LocalText(LocalFiles, Source):
    """Text files, see `tasks.kinds.local_files`."""

    suffixes: ClassVar[tuple[str, ...]] = (
        ".txt", ".jsonl", ".parquet", *(kind + packed for packed in PACKED for kind in (".txt", ".jsonl"))
    )  # fmt: skip
    kind: ClassVar[str] = "such files"

    def text_bytes(self) -> int:
        """Rough size of the text: the size of plain files, and three times the size of compressed ones."""
        return sum(path.stat().st_size * (1 if path.suffix in (".txt", ".jsonl") else 3) for path in self.files())

    def pieces(self, skip: int = 0) -> Iterator[Piece]:
        """Texts of all files in order; see `read_file`."""
        return islice((piece for path in self.files() for piece in read_file(path)), skip, None)


def read_file(path: Path) -> Iterator[Piece]:
    """Read one file as a stream of pieces.

    A ``.txt`` file is one document, cut where tokens cannot span (see `split_before_space`), or after
    `LONGEST_PIECE`; a ``.jsonl`` or ``.parquet`` file has one document per row, in its ``text`` column.

    Args:
        path: a file that ends as `LocalText` says.

    Raises:
        DamagedSource: the content is not what the name says, is cut short, or a row has no text; the message names
            the file and the place.
    """
    if path.suffix.lower() == ".parquet":
        with readable(path):
            yield from _read_parquet(path)
        return
    with opened(path) as file:
        is_jsonl = unpacked_name(path).lower().endswith(".jsonl")
        yield from (_read_jsonl if is_jsonl else _read_txt)(path, file)


def _read_jsonl(path: Path, file: BinaryIO) -> Iterator[Piece]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield Piece(_text_of_line(path, number, line), 1)


def _text_of_line(path: Path, number: int, line: bytes) -> str:
    try:
        # A byte order mark may open the file.
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), object_pairs_hook=_every_key_once)
    except (ValueError, RecursionError) as error:
        raise DamagedSource(
            f"{path} line {number} must be a JSON object in UTF-8, but it cannot be read ({error}); correct "
            "or remove the line."
        ) from error
    if not isinstance(row, dict):
        raise DamagedSource(
            f"{path} line {number} must be a JSON object with a text, got {type(row).__name__}; correct or "
            "remove the line."
        )
    text = row.get("text")
    if not isinstance(text, str):
        got = f"{type(text).__name__} there" if "text" in row else f"the keys {', '.join(map(repr, row)) or '(none)'}"
        raise DamagedSource(
            f'{path} line {number} must have a string under "text", got {got}; correct or remove the line.'
        )
    return _without_lone_surrogates(text)


def _every_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is there twice")
    return row


def _without_lone_surrogates(text: str) -> str:
    # JSON escapes may spell half a surrogate pair, which is no character and cannot be written as UTF-8.
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _read_txt(path: Path, file: BinaryIO) -> Iterator[Piece]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest: list[str] = []  # joined, there is no place to cut in it
    offset = 0
    while True:
        block = file.read(_BLOCK_BYTES)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise DamagedSource(
                f"{path} must be UTF-8 text, but the bytes near offset {max(0, offset + error.start)} are "
                "not; convert the file to UTF-8."
            ) from error
        if _HOLE in text:
            raise DamagedSource(
                f"{path} must be UTF-8 text, but there are zero bytes after offset {offset}; fetch or write it again."
            )
        if not block:
            rest.append(text)
            break
        offset += len(block)
        last = rest[-1][-1:] if rest else ""
        piece, after = split_before_space(last + text)
        if piece:
            yield Piece("".join([*rest, piece[len(last) :]]), 0)
            rest = [after]
        elif text:
            rest.append(text)
        if sum(map(len, rest)) > LONGEST_PIECE:
            yield Piece("".join(rest), 0)
            rest = []
    if any(rest) or offset:
        yield Piece("".join(rest), 1)


def split_before_space(text: str) -> tuple[str, str]:
    """Cut text at the last place where a space follows a visible character.

    Byte-level BPE with the GPT-2 splitting rule never joins a visible character with the white space after
    it, and a run of white space stays whole, so the two parts tokenize to exactly the tokens of the text.

    Args:
        text: any text.

    Returns:
        The two parts, the second starting with the space; the first is empty when there is no such place.
    """
    end = len(text)
    while end > 0:
        at = max(text.rfind(space, 0, end) for space in _BREAKS)
        while at > 0 and text[at - 1].isspace():
            at -= 1
        if at <= 0:
            break
        if text[at] in _BREAKS:
            return text[:at], text[at:]
        end = at
    return "", text


def _read_parquet(path: Path) -> Iterator[Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if names.count("text") != 1:
                raise DamagedSource(
                    f"{path} must have a column named text, got {', '.join(names) or 'none'}; rename the "
                    "column or point data.source at other files."
                )
            row = 0
            for batch in file.iter_batches(batch_size=512, columns=["text"]):
                for value in batch.column(0).to_pylist():
                    if not isinstance(value, str):
                        raise DamagedSource(
                            f"{path} row {row} must have a string in the column text, got "
                            f"{type(value).__name__}; correct or remove the row."
                        )
                    row += 1
                    yield Piece(value, 1)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedSource(
            f"{path} must be a complete parquet file, but reading it failed ({error}); fetch it again or "
            "take it out of data.source."
        ) from error
