"""Making token files: tokenized in parallel, resumed after a kill at any moment, finished in one step.

The work happens in a folder beside the final one. ``train.bin`` grows there while a journal counts the pieces
of text consumed and the tokens written; so after a kill the file is cut back to the journal's length, that
many pieces are skipped, and the result is the same to the byte. At the end the last part moves to
``val.bin``, and the folder is renamed.
"""

from __future__ import annotations

import platform
import shutil
import time
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.kinds.array_files import write_manifest
from tasks.kinds.local_files import DamagedSource
from tasks.kinds.prepared_folder import prepare_folder, require_space, write_durably
from tasks.kinds.sequences.token_files import (
    BYTES_PER_TOKEN,
    SCHEMA,
    TokenFiles,
    TokenizedSource,
    describe_splits,
    read_token_files,
    split_tokens,
)
from tasks.kinds.text.documents import Source
from tasks.kinds.text.encoding import encode_stream
from tasks.kinds.text.journal import JOURNAL, Journal, append, resume, write_journal
from tasks.kinds.text.tokenizer import (
    Tokenizer,
    bpe_size,
    json_tokenizer,
    load_tokenizer,
    tokenizer_identity,
    train_bpe,
)

BPE_TRAINING_BYTES = 64_000_000
"""A tokenizer is trained on at most so much of the beginning of the text."""

JOURNAL_SECONDS = 2.0
"""At most about so much work is done again after a kill."""

_TYPICAL_BYTES_PER_BPE_TOKEN = 4.0


@dataclass(frozen=True, kw_only=True)
class Corpus(TokenizedSource):
    """Which text becomes which token files.

    Attributes:
        source: the text.
        tokenizer: a value of ``data.tokenizer``.
    """

    source: Source
    tokenizer: str

    def tokenizer_identity(self) -> dict[str, Any]:
        """The tokenizer's name; of a local file its checksum."""
        return tokenizer_identity(self.tokenizer)

    @property
    def unit(self) -> str:
        """The tokenizer's kind, with its size if it is trained."""
        kind, _, argument = self.tokenizer.partition(":")
        return f"bpe{argument}" if kind == "bpe" else kind

    def expected_tokens(self) -> int:
        """Rough number of tokens, for the disk check."""
        per_token = 1.0 if self.tokenizer == "byte" else _TYPICAL_BYTES_PER_BPE_TOKEN
        expected = int(self.source.text_bytes() / per_token)
        return expected if self.max_tokens is None else min(expected, self.max_tokens)


def prepare_text(
    corpus: Corpus, data_dir: Path, *, workers: int = 1, journal_seconds: float = JOURNAL_SECONDS
) -> TokenFiles:
    """Make the token files of a corpus if they are not there yet.

    Safe to call again, from several processes at once, and after a kill.

    Args:
        corpus: what to prepare.
        data_dir: folder for prepared data.
        workers: tokenizing processes.
        journal_seconds: seconds between two journal entries.

    Returns:
        The finished files.

    Raises:
        ValueError: the source or the tokenizer cannot be used, the disk is too small, or an earlier result is
            damaged; the message says what to change.
    """

    def work(working: Path) -> None:
        try:
            _work(corpus, working, workers, journal_seconds)
        except ValueError:
            if not _has_tokens(working):
                shutil.rmtree(working, ignore_errors=True)
            raise

    folder = corpus.folder(data_dir)
    prepare_folder(folder, work, goes_on=True)
    # Not before: without its journal an unfinished folder would be started again.
    (folder / JOURNAL).unlink(missing_ok=True)
    return read_token_files(folder)


def _has_tokens(working: Path) -> bool:
    return any(path.stat().st_size for path in working.glob("*.bin"))


def _work(corpus: Corpus, working: Path, workers: int, journal_seconds: float) -> None:
    done = sum(path.stat().st_size for path in working.glob("*.bin"))
    # The validation split exists twice for a moment.
    needed = int(corpus.expected_tokens() * BYTES_PER_TOKEN * (1 + corpus.val_share)) - done
    require_space(working, needed, what=corpus.dataset, less="data.max_tokens")
    journal = resume(corpus.source, working)
    source = corpus.source.pinned(journal.source)
    tokenizer = _tokenizer(corpus, source, working)
    if not journal.complete:
        journal = _tokenize(corpus, source, tokenizer, journal, working, workers, journal_seconds)
    split_tokens(working, journal.tokens - int(journal.tokens * corpus.val_share))
    _write_manifest(corpus, tokenizer, journal, working)


def _tokenizer(corpus: Corpus, source: Source, working: Path) -> Tokenizer:
    size = bpe_size(corpus.tokenizer)
    if size is None:
        return load_tokenizer(corpus.tokenizer)
    path = working / "tokenizer.json"
    if path.exists():
        return json_tokenizer(corpus.tokenizer, path.read_text(encoding="utf-8"))
    tokenizer = train_bpe(size, _training_texts(corpus, source))
    write_durably(path, tokenizer.definition)
    return tokenizer


def _training_texts(corpus: Corpus, source: Source) -> list[str]:
    """The text to train a tokenizer on: its beginning, without the validation split's share of it."""
    # A token has a byte or more, so the first max_tokens bytes are among the first max_tokens tokens.
    limit = min(BPE_TRAINING_BYTES, corpus.max_tokens or BPE_TRAINING_BYTES)
    texts: list[bytes] = []
    size = 0
    for piece in source.pieces():
        texts.append(piece.text.encode()[: limit - size])
        size += len(texts[-1])
        if size >= limit:
            break
    left = int(size * (1 - corpus.val_share))
    kept = []
    for text in texts:
        kept.append(text[:left].decode(errors="ignore"))
        left = max(0, left - len(text))
    return kept


def _tokenize(
    corpus: Corpus,
    source: Source,
    tokenizer: Tokenizer,
    journal: Journal,
    working: Path,
    workers: int,
    journal_seconds: float,
) -> Journal:
    from tqdm import tqdm

    bar = tqdm(
        total=corpus.max_tokens,
        initial=journal.tokens,
        unit=" tokens",
        unit_scale=True,
        desc=f"Preparing {corpus.dataset} ({corpus.source.label}, {corpus.tokenizer})",
        disable=None,
    )
    chunks = encode_stream(tokenizer, source.pieces(journal.pieces), workers)
    written = time.monotonic()
    with bar, open(working / "train.bin", "r+b") as file:
        file.seek(journal.tokens * BYTES_PER_TOKEN)
        for pieces, encoded in chunks:
            before = journal.tokens
            journal = append(file, pieces, encoded, journal, corpus.max_tokens)
            bar.update(journal.tokens - before)
            if journal.complete:
                break
            if time.monotonic() - written >= journal_seconds:
                write_journal(file, journal, working)
                written = time.monotonic()
        if journal.tokens == 0:
            raise DamagedSource(
                f"data.source must hold some text, but {corpus.named_source()} is empty; point data.source at other "
                "files."
            )
        journal = replace(journal, complete=True)
        write_journal(file, journal, working)
    return journal


def _write_manifest(corpus: Corpus, tokenizer: Tokenizer, journal: Journal, working: Path) -> None:
    manifest = {
        "schema": SCHEMA,
        "dataset": corpus.dataset,
        "source": journal.source,
        "tokenizer": corpus.tokenizer_identity() | {"vocab_size": tokenizer.vocab_size},
        "val_share": corpus.val_share,
        "max_tokens": corpus.max_tokens,
        "splits": describe_splits(working),
        "text": {"documents": journal.documents, "bytes": journal.text_bytes},
        "tools": {"python": platform.python_version()} | _versions("numpy", "tiktoken", "tokenizers", "datasets"),
    }
    write_manifest(working, manifest)


def _versions(*packages: str) -> dict[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
