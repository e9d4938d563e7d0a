"""FASTA, plain or packed, as a stream of codes: A, C, G, T, N are 0 to 4, and no more than a chunk is in memory.

One look-up table turns a whole chunk into codes and drops its line ends in the same pass; only headers are searched for
one by one. Lines may end as on any system; a byte order mark and blanks before a header are passed over.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tasks.kinds.local_files import DamagedSource, opened, packed_with, readable, require_text

CHUNK_BYTES = 1 << 20
"""Largest amount of decompressed text that is held at once."""

N = 4
"""Code of a nucleotide that is not known: N, and every IUPAC letter that stands for several."""

_INVALID = 255
_READ_BYTES = 1 << 16
_BLANKS = b"\t "
_LAYOUT = b"\n" + _BLANKS
_NEWLINE, _HEADER = ord("\n"), ord(">")
_LONGEST_HEADER = 4096
_INDENTED_HEADER = re.compile(rb"\n[\t ]*(?=>)")


def _table() -> bytes:
    table = bytearray([_INVALID]) * 256
    for letters, code in (("A", 0), ("C", 1), ("G", 2), ("TU", 3), ("NRYSWKMBDHV", N)):
        for letter in letters + letters.lower():
            table[ord(letter)] = code
    return bytes(table)


_TABLE = _table()


class Stretch(NamedTuple):
    """Consecutive nucleotides of one record.

    Attributes:
        starts_record: whether a record (a chromosome) begins here; otherwise it goes on.
        codes: one byte per nucleotide, 0 to 4.
    """

    starts_record: bool
    codes: bytes


class _Incomplete(Exception):
    """A gzip file that does not decompress to its end.

    Args:
        reason: what is wrong, before the number of the line.
        pending: what was decompressed since the last chunk.
    """

    def __init__(self, reason: str, pending: bytes) -> None:
        super().__init__(reason)
        self.pending = pending


def read_chunks(path: Path, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Content of a file in chunks, unpacked if it is packed (blocked gzip too); the name does not matter.

    Args:
        path: an existing file.
        chunk_bytes: size of all chunks but the last.

    Raises:
        DamagedSource: it cannot be read, or what it is packed with is damaged.
    """
    with readable(path), open(path, "rb") as file:
        packed = packed_with(file.peek(8))
        if packed == "gzip":
            yield from _decompressed(file, chunk_bytes)
        elif packed is None:
            while chunk := file.read(chunk_bytes):
                yield chunk
    if packed not in (None, "gzip"):
        with opened(path) as unpacked:
            while chunk := unpacked.read(chunk_bytes):
                yield chunk


def _decompressed(file: BinaryIO, chunk_bytes: int) -> Iterator[bytes]:
    # Not the gzip module: it decompresses a few kilobytes at a time.
    member = zlib.decompressobj(wbits=31)
    data = file.read(_READ_BYTES)
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            part = member.decompress(data, chunk_bytes - size)
        except zlib.error as error:
            raise _Incomplete(f"is damaged ({error}) after", b"".join(parts)) from error
        parts.append(part)
        size += len(part)
        if size == chunk_bytes:
            yield b"".join(parts)
            parts, size = [], 0
        if not member.eof:
            data = member.unconsumed_tail or file.read(_READ_BYTES)
            if not data:
                raise _Incomplete("is cut short in", b"".join(parts))
            continue
        # Zeros may fill up the last block of a medium.
        data = member.unused_data.lstrip(b"\0")
        while not data and (block := file.read(_READ_BYTES)):
            data = block.lstrip(b"\0")
        if not data:
            break
        member = zlib.decompressobj(wbits=31)
    if parts:
        yield b"".join(parts)


def _unix_lines(name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks without a byte order mark, every line ended by a newline."""
    start: bytes | None = b""
    after_return = False
    for chunk in chunks:
        if start is not None:
            start += chunk
            if len(start) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(start):
                continue
            require_text(name, start[:1024])
            chunk, start = start.removeprefix(codecs.BOM_UTF8), None
        if after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        after_return = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield chunk
    if start:
        yield start


class _Headers:
    """The headers of a file: one that stands twice would give its sequence twice, a last one alone has lost its own.

    Args:
        name: name of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: dict[bytes, int] = {}
        self._begun = b""
        self._waits: tuple[int, bytes] | None = None

    def add(self, text: bytes) -> None:
        """Go on with the header that is being read."""
        self._begun += text[:_LONGEST_HEADER]

    def end(self, line: int) -> None:
        """Keep the header that was read, which stood in this line."""
        header, self._begun = self._begun.removeprefix(b">").strip(), b""
        earlier = self._lines.setdefault(header, line)
        if header and earlier != line:
            raise DamagedSource(
                f"{self._name} line {line} has the header {header.decode(errors='replace')!r:.80} again, after line "
                f"{earlier}: a sequence that stands twice would be trained on twice; take one of the two out."
            )
        self._waits = line, header

    def followed(self, codes: bytes) -> None:
        """Note the nucleotides after the last header, which may be none."""
        if codes:
            self._waits = None

    def finish(self, line: int) -> None:
        """Refuse a header without a nucleotide at the end of the file, as a download leaves it that was cut off.

        Raises:
            DamagedSource: the last header is such.
        """
        if self._begun:
            self.end(line)
        if self._waits is not None:
            line, header = self._waits
            raise DamagedSource(
                f"{self._name} line {line} has the last header, {header.decode(errors='replace')!r:.80}, "
                "without a sequence; fetch the file again, or take the header out."
            )


def parse_fasta(name: str, chunks: Iterable[bytes]) -> Iterator[Stretch]:
    """Turn the text of a FASTA file into codes.

    Args:
        name: name of the file, for messages.
        chunks: text of the file, cut anywhere.

    Yields:
        Stretches; together the nucleotides of all records in order.

    Raises:
        DamagedSource: the text is empty, does not begin with a header, has a letter that is no nucleotide, a header
            twice or a last one without a sequence, or its gzip file is damaged; the message names file and line.
    """
    lines_before, nucleotides, headers = 0, 0, _Headers(name)
    in_header, at_line_start, starts_record, seen_header = False, True, False, False
    try:
        for chunk in _unix_lines(name, chunks):
            at = 0
            indented = b" >" in chunk or b"\t>" in chunk
            while at < len(chunk):
                if in_header:
                    end = chunk.find(b"\n", at)
                    in_header, at_line_start = end < 0, True
                    headers.add(chunk[at : len(chunk) if in_header else end])
                    if not in_header:
                        headers.end(lines_before + chunk.count(b"\n", 0, at) + 1)
                    at = len(chunk) if in_header else end + 1
                    continue
                if at_line_start and chunk[at] in _BLANKS:
                    at = len(chunk) - len(chunk[at:].lstrip(_BLANKS))
                    continue
                if at_line_start and chunk[at] == _HEADER:
                    in_header = starts_record = seen_header = True
                    continue
                if indented:
                    header = _INDENTED_HEADER.search(chunk, at)
                    end = header.end() if header else len(chunk)
                else:
                    end = chunk.find(b"\n>", at) + 1 or len(chunk)
                codes = chunk[at:end].translate(_TABLE, _LAYOUT)
                if codes and (not seen_header or _INVALID in codes):
                    raise _misplaced(name, chunk[at:end], lines_before + chunk.count(b"\n", 0, at), seen_header)
                headers.followed(codes)
                yield Stretch(starts_record, codes)
                nucleotides += len(codes)
                starts_record = False
                at_line_start = chunk[at:end].rstrip(_BLANKS).endswith(b"\n")
                at = end
            lines_before += chunk.count(b"\n")
    except _Incomplete as error:
        line = lines_before + error.pending.count(_NEWLINE) + 1
        raise DamagedSource(
            f"{name} must be a complete gzip file, but it {error} line {line}; fetch it again or take it out of "
            "data.source."
        ) from error
    if not nucleotides:
        raise _without_a_sequence(name, lines_before, seen_header)
    headers.finish(lines_before + 1)


def _without_a_sequence(name: str, lines: int, seen_header: bool) -> DamagedSource:
    """The error for a text without a nucleotide."""
    return DamagedSource(
        f"{name} must hold a sequence, but it {'has headers alone' if seen_header else 'is empty'} ({lines} lines); "
        "fetch it again or take it out of data.source."
    )


def _misplaced(name: str, text: bytes, lines_before: int, seen_header: bool) -> DamagedSource:
    """The error for the first letter of a text that should not be there."""
    codes = text.translate(_TABLE)
    wrong = (i for i, code in enumerate(codes) if text[i] not in _LAYOUT and (code == _INVALID or not seen_header))
    at = next(wrong)
    line = lines_before + text.count(b"\n", 0, at) + 1
    if not seen_header:
        return DamagedSource(
            f"{name} line {line} must be a FASTA header (> and a name) since none came before, got "
            f"{_shown(text[at])}; point data.source at FASTA files."
        )
    return DamagedSource(
        f"{name} line {line} must hold nucleotides (IUPAC letters), got {_shown(text[at])}; correct the line "
        "or take the file out of data.source."
    )


def _shown(letter: int) -> str:
    return repr(chr(letter))
