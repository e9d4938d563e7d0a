"""Preparing token files: the same bytes whatever the workers; damage is noticed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_texts import contents, corpus, write_texts

from tasks.kinds.sequences.token_files import read_token_files
from tasks.kinds.text import encoding, preparation
from tasks.kinds.text.documents import LocalText
from tasks.kinds.text.preparation import prepare_text


@pytest.fixture
def source(tmp_path) -> Path:
    return write_texts(tmp_path / "source")


def test_byte_tokens_are_the_text_joined_without_separator(source, tmp_path):
    files = prepare_text(corpus(source), tmp_path / "data")
    text = "".join(piece.text for piece in LocalText(source).pieces()).encode()
    tokens = np.concatenate([files.tokens("train"), files.tokens("val")])
    assert tokens.astype(np.uint8).tobytes() == text
    assert len(files.tokens("val")) == int(len(text) * 0.1)
    assert files.manifest["text"] == {"documents": 121, "bytes": len(text)}
    assert files.manifest["splits"]["train"]["tokens"] == len(files.tokens("train"))
    assert sorted(contents(tmp_path / "data")) == ["manifest.json", "train.bin", "val.bin"]
    files.verify()


def test_max_tokens_takes_the_first_tokens(source, tmp_path):
    everything = prepare_text(corpus(source), tmp_path / "data")
    first = prepare_text(corpus(source, max_tokens=1000), tmp_path / "data")
    assert (len(first.tokens("train")), len(first.tokens("val"))) == (900, 100)
    tokens = np.concatenate([first.tokens("train"), first.tokens("val")])
    assert np.array_equal(tokens, everything.tokens("train")[:1000])
    texts = [piece.text.encode() for piece in LocalText(source).pieces()]
    documents = next(n for n in range(len(texts)) if sum(map(len, texts[:n])) >= 1000)
    assert first.manifest["text"] == {"documents": documents, "bytes": sum(map(len, texts[:documents]))}


def test_cut_inside_a_long_document_counts_it(source, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.kinds.text.documents._BLOCK_BYTES", 64)
    files = prepare_text(corpus(source / "c.txt", max_tokens=300), tmp_path / "data")
    assert files.manifest["text"]["documents"] == 1


def test_prepared_once(source, tmp_path, monkeypatch):
    files = prepare_text(corpus(source), tmp_path / "data")
    monkeypatch.setattr(preparation, "_work", None)
    assert prepare_text(corpus(source), tmp_path / "data") == files


def test_equal_text_has_equal_fingerprints_wherever_it_lies(source, tmp_path):
    shutil.copytree(source, tmp_path / "copy")
    here, there = (prepare_text(corpus(path), tmp_path / "data") for path in (source, tmp_path / "copy"))
    assert here.folder != there.folder and here.fingerprint == there.fingerprint
    other = prepare_text(corpus(source, val_share=0.2), tmp_path / "data")
    assert other.fingerprint != here.fingerprint


@pytest.mark.parametrize("tokenizer", ["byte", "bpe:300"])
def test_workers_change_nothing(source, tmp_path, monkeypatch, tokenizer):
    alone = prepare_text(corpus(source, tokenizer), tmp_path / "alone", workers=1)
    monkeypatch.setattr(encoding, "CHUNK_CHARACTERS", 700)
    monkeypatch.setattr(encoding, "SERIAL_CHUNKS", 2)
    together = prepare_text(corpus(source, tokenizer), tmp_path / "together", workers=2)
    assert together.fingerprint == alone.fingerprint
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")


def test_damage_is_noticed(source, tmp_path):
    files = prepare_text(corpus(source), tmp_path / "data")
    path = files.folder / "val.bin"
    content = path.read_bytes()
    path.write_bytes(b"\1" + content[1:])
    with pytest.raises(ValueError, match=r"val\.bin must have the checksum .* delete the folder"):
        files.verify()
    path.write_bytes(content[:-2])
    with pytest.raises(ValueError, match=r"val\.bin must have \d+ bytes, but has \d+; delete the folder"):
        prepare_text(corpus(source), tmp_path / "data")
    path.unlink()
    with pytest.raises(ValueError, match=r"val\.bin must have \d+ bytes, but it is missing; delete the folder"):
        prepare_text(corpus(source), tmp_path / "data")
    (files.folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json must describe the prepared text"):
        read_token_files(files.folder)
    (files.folder / "manifest.json").write_text(json.dumps(files.manifest | {"schema": 99}))
    with pytest.raises(ValueError, match="must have schema 1, got 99"):
        read_token_files(files.folder)


def test_disk_is_checked_before_the_start(source, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ValueError, match=r"needs about 0\.1 GB at .*data, which has 0\.0 GB free"):
        prepare_text(corpus(source), tmp_path / "data")
    assert not list((tmp_path / "data").glob("toy*"))


def test_full_disk_keeps_what_is_done(source, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK_CHARACTERS", 500)
    append, calls = preparation.append, []

    def full(*args):
        calls.append(1)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        return append(*args)

    monkeypatch.setattr(preparation, "append", full)
    with pytest.raises(ValueError, match=r"disk of .* is full; free some space"):
        prepare_text(corpus(source), tmp_path / "data", journal_seconds=0)
    monkeypatch.setattr(preparation, "append", append)
    whole = prepare_text(corpus(source), tmp_path / "whole")
    assert prepare_text(corpus(source), tmp_path / "data").fingerprint == whole.fingerprint


def test_bad_source_leaves_nothing_behind(source, tmp_path):
    (source / "d.jsonl").write_text('{"text": "a"}\n{"no": "text"}\n')
    with pytest.raises(ValueError, match=r"d\.jsonl line 2"):
        prepare_text(corpus(source), tmp_path / "data")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match=r"must hold some text, but .*empty\.txt is empty"):
        prepare_text(corpus(tmp_path / "empty.txt"), tmp_path / "data")
    with pytest.raises(ValueError, match="bpe:60000 needs text"):
        prepare_text(corpus(source / "c.txt", "bpe:60000"), tmp_path / "data")
    assert not list((tmp_path / "data").glob("toy*"))


def test_folder_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"data\.data_dir must be a folder that can be written"):
        prepare_text(corpus(source), tmp_path / "file")


def test_dead_worker_is_one_sentence(monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK_CHARACTERS", 1)
    pieces = (encoding.Piece("ab", 1) for _ in range(1000))
    with pytest.raises(ValueError, match=r"worker processes must live .* lower data\.num_workers"):
        list(encoding.encode_stream(DyingTokenizer(), pieces, 2))


class DyingTokenizer:
    vocab_size = 1

    def encode(self, texts):
        os._exit(9)
