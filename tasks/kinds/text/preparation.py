"""Making token files: tokenized in parallel, resumed after a kill at any moment, finished in one step.

The work happens in a folder beside the final one. ``train.bin`` grows there while a journal counts the pieces
of text consumed and the tokens written; so after a kill the file is cut back to the journal's length, that
many pieces are skipped, and the result is the same to the byte. At the end the last part moves to
``val.bin``, and the folder is renamed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import time
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.kinds.prepared_folder import full_disk_explained, only_process, require_space
from tasks.kinds.sequences.token_files import (
    BYTES_PER_TOKEN,
    MANIFEST,
    SCHEMA,
    TokenFiles,
    describe_splits,
    read_token_files,
    split_tokens,
)
from tasks.kinds.text.documents import DamagedSource, Source
from tasks.kinds.text.encoding import available_cores, encode_stream
from tasks.kinds.text.journal import JOURNAL, Journal, append, resume, write_durably, write_journal
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

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Which text becomes which token files; equal values share one prepared folder.

    Attributes:
        dataset: name of the dataset, for the folder.
        source: the text.
        tokenizer: a value of ``data.tokenizer``.
        val_share: share of the tokens, at the end, that is the validation split.
        max_tokens: use only the first so many tokens; None: all.
    """

    dataset: str
    source: Source
    tokenizer: str
    val_share: float
    max_tokens: int | None

    def identity(self) -> dict[str, Any]:
        """Everything that decides the prepared content."""
        return {
            "schema": SCHEMA,
            "source": self.source.identity(),
            "tokenizer": tokenizer_identity(self.tokenizer),
            "val_share": self.val_share,
            "max_tokens": self.max_tokens,
        }

    def folder(self, data_dir: Path) -> Path:
        """The final folder; its name ends with a hash of the identity."""
        identity = json.dumps(self.identity(), sort_keys=True).encode()
        kind, _, argument = self.tokenizer.partition(":")
        tokenizer = f"bpe{argument}" if kind == "bpe" else kind
        name = f"{self.dataset}-{self.source.label}-{tokenizer}-{hashlib.sha256(identity).hexdigest()[:10]}"
        return data_dir / name

    def expected_tokens(self) -> int:
        """Rough number of tokens, for the disk check."""
        per_token = 1.0 if self.tokenizer == "byte" else _TYPICAL_BYTES_PER_BPE_TOKEN
        expected = int(self.source.text_bytes() / per_token)
        return expected if self.max_tokens is None else min(expected, self.max_tokens)


def prepare_text(
    corpus: Corpus, data_dir: Path, *, workers: int | None = None, journal_seconds: float = JOURNAL_SECONDS
) -> TokenFiles:
    """Make the token files of a corpus if they are not there yet.

    Safe to call again, from several processes at once (one works, the others wait; the lock is the kernel's
    and ends with its holder), and after a kill.

    Args:
        corpus: what to prepare.
        data_dir: folder for prepared data.
        workers: tokenizing processes; None: one per core.
        journal_seconds: seconds between two journal entries.

    Returns:
        The finished files.

    Raises:
        ValueError: the source or the tokenizer cannot be used, the disk is too small, or an earlier result is
            damaged; the message says what to change.
    """
    folder = corpus.folder(data_dir)
    finished = read_token_files(folder)
    if finished is not None:
        return finished
    working = folder.with_name(f"{folder.name}.partial")
    with only_process(folder):
        finished = read_token_files(folder)
        if finished is None:
            try:
                _work(corpus, working, max(1, workers or available_cores()), journal_seconds)
            except ValueError as error:
                # A damaged source would fail again, and corrected text has another folder.
                if isinstance(error, DamagedSource) or not _has_tokens(working):
                    shutil.rmtree(working, ignore_errors=True)
                raise
            os.rename(working, folder)
            # Not before: without its journal an unfinished folder would be started again.
            (folder / JOURNAL).unlink()
            finished = read_token_files(folder)
    assert finished is not None
    return finished


def _has_tokens(working: Path) -> bool:
    return any(path.stat().st_size for path in working.glob("*.bin"))


def _work(corpus: Corpus, working: Path, workers: int, journal_seconds: float) -> None:
    _check_disk(corpus, working)
    with full_disk_explained(working, kept=True):
        working.mkdir(parents=True, exist_ok=True)
        journal = resume(corpus.source, working)
        source = corpus.source.pinned(journal.source)
        tokenizer = _tokenizer(corpus, source, working)
        if not journal.complete:
            journal = _tokenize(corpus, source, tokenizer, journal, working, workers, journal_seconds)
        split_tokens(working, journal.tokens - int(journal.tokens * corpus.val_share))
        _write_manifest(corpus, tokenizer, journal, working)


def _check_disk(corpus: Corpus, working: Path) -> None:
    done = sum(path.stat().st_size for path in working.glob("*.bin")) if working.exists() else 0
    # The validation split exists twice for a moment.
    needed = int(corpus.expected_tokens() * BYTES_PER_TOKEN * (1 + corpus.val_share)) - done
    require_space(working, needed, what=corpus.dataset, less="data.max_tokens")


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
        for chunk in chunks:
            before = journal.tokens
            journal = append(file, chunk, journal, corpus.max_tokens)
            bar.update(journal.tokens - before)
            if journal.complete:
                break
            if time.monotonic() - written >= journal_seconds:
                write_journal(file, journal, working)
                written = time.monotonic()
        if journal.tokens == 0:
            raise DamagedSource(
                f"data.source must hold some text, but {_where(source)} is empty; point data.source at other files."
            )
        journal = replace(journal, complete=True)
        write_journal(file, journal, working)
    return journal


def _where(source: Source) -> str:
    return str(source.identity().get("path", source.label))


def _write_manifest(corpus: Corpus, tokenizer: Tokenizer, journal: Journal, working: Path) -> None:
    manifest = {
        "schema": SCHEMA,
        "dataset": corpus.dataset,
        "source": journal.source,
        "tokenizer": tokenizer_identity(corpus.tokenizer) | {"vocab_size": tokenizer.vocab_size},
        "val_share": corpus.val_share,
        "max_tokens": corpus.max_tokens,
        "splits": describe_splits(working),
        "text": {"documents": journal.documents, "bytes": journal.text_bytes},
        "tools": {"python": platform.python_version()} | _versions("numpy", "tiktoken", "tokenizers", "datasets"),
    }
    write_durably(working / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _versions(*packages: str) -> dict[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
