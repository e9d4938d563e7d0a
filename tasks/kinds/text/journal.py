"""The journal of a preparation, which lets it go on after a kill, and the token file that it describes.

The journal is replaced in one step, and only after the tokens that it counts are on disk. After a kill the
token file is cut back to the journal's length; its checksum shows whether what is left is what was written.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from tasks.kinds.prepared_folder import write_durably
from tasks.kinds.sequences.token_files import BYTES_PER_TOKEN, SPLITS
from tasks.kinds.text.documents import Piece, Source
from tasks.kinds.text.encoding import Ids

JOURNAL = "journal.json"

_COPY_BYTES = 1 << 24

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Journal:
    """What a preparation has done so far.

    Attributes:
        pieces: pieces of text consumed.
        documents: documents begun.
        text_bytes: UTF-8 bytes of the pieces used, the last one whole.
        tokens: tokens written.
        crc32: CRC-32 of the tokens' bytes.
        complete: whether all of the text, or as much as was asked for, is tokenized.
        source: the source's facts when the work began, a resolved revision among them.
    """

    pieces: int
    documents: int
    text_bytes: int
    tokens: int
    crc32: int
    complete: bool
    source: dict[str, Any]


def append(file: BinaryIO, pieces: list[Piece], encoded: Ids, journal: Journal, max_tokens: int | None) -> Journal:
    """Write the ids of some pieces.

    Args:
        file: the token file, at its end.
        pieces: consecutive pieces of the text.
        encoded: their ids.
        journal: the journal of what was written before.
        max_tokens: write only up to so many tokens in all; None: no limit.

    Returns:
        The journal that counts the pieces; complete when the limit is reached.
    """
    ids, tokens, text_bytes = encoded
    room = sum(tokens) if max_tokens is None else min(max_tokens - journal.tokens, sum(tokens))
    ids = ids[: room * BYTES_PER_TOKEN]
    file.write(ids)
    used, counted = 0, 0
    while used < len(tokens) and (counted < room or tokens[used] == 0):
        counted += tokens[used]
        used += 1
    cut_inside_document = 0 < used < len(tokens) and not pieces[used - 1].documents
    return replace(
        journal,
        pieces=journal.pieces + used,
        documents=journal.documents + sum(piece.documents for piece in pieces[:used]) + cut_inside_document,
        text_bytes=journal.text_bytes + sum(text_bytes[:used]),
        tokens=journal.tokens + room,
        crc32=zlib.crc32(ids, journal.crc32),
        complete=max_tokens is not None and journal.tokens + room >= max_tokens,
    )


def resume(source: Source, working: Path) -> Journal:
    """Get ``train.bin`` ready to be appended to.

    Args:
        source: the source, whose facts a fresh journal records.
        working: the unfinished folder.

    Returns:
        The journal to go on from, with the file cut back to it; a fresh one where none matches the file.
    """
    path = working / "train.bin"
    try:
        journal = Journal(**json.loads((working / JOURNAL).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        journal = None
    if journal is not None and path.exists():
        if journal.complete and (working / "val.bin").exists():
            return journal
        with open(path, "r+b") as file:
            if _crc32(file, journal.tokens * BYTES_PER_TOKEN) == journal.crc32:
                file.truncate(journal.tokens * BYTES_PER_TOKEN)
                _log.info("Going on with %s after %d tokens.", working, journal.tokens)
                return journal
        _log.warning("%s is not what its journal says; starting it again.", path)
    for split in SPLITS:
        (working / f"{split}.bin").unlink(missing_ok=True)
    journal = Journal(0, 0, 0, 0, 0, False, source.facts())
    with open(path, "wb") as file:
        write_journal(file, journal, working)
    return journal


def _crc32(file: BinaryIO, size: int) -> int | None:
    """CRC-32 of the first ``size`` bytes; None when there are fewer."""
    crc = 0
    while size:
        block = file.read(min(size, _COPY_BYTES))
        if not block:
            return None
        crc = zlib.crc32(block, crc)
        size -= len(block)
    return crc


def write_journal(file: BinaryIO, journal: Journal, working: Path) -> None:
    """Bring the token file to disk, then the journal that counts it."""
    file.flush()
    os.fsync(file.fileno())
    write_durably(working / JOURNAL, json.dumps(asdict(journal)))
