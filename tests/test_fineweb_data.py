"""FineWeb: what `paper` means in numbers, and the pipeline on real text."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.fineweb.data import FineWeb
from tasks.kinds.sequences.token_files import TokenFiles
from tasks.kinds.text import tokenizer


@pytest.fixture
def gpt2_files(shared_data, monkeypatch):
    pytest.importorskip("tiktoken")
    tokenizer._tiktoken_encoding.cache_clear()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tokenizers" / "tiktoken_cache"))


def test_paper_is_the_first_billion_tokens_of_the_10bt_sample():
    corpus = FineWeb(batch_size=1, source="paper").corpus()
    assert corpus.max_tokens == 1_000_000_000 and corpus.val_share == 0.01 and corpus.tokenizer == "gpt2"
    identity = corpus.source.identity()
    assert (identity["dataset"], identity["config"]) == ("HuggingFaceFW/fineweb-edu", "sample-10BT")
    assert FineWeb(batch_size=1, source="paper", max_tokens=7).corpus().max_tokens == 7
    assert FineWeb(batch_size=1).corpus().max_tokens is None


@pytest.mark.parametrize(("batch_size", "steps"), [(16, 241_699), (64, 60_424), (256, 15_106), (1024, 3_776)])
def test_paper_step_counts(batch_size, steps, tmp_path, monkeypatch):
    for split, tokens in {"train": 990_000_000, "val": 10_000_000}.items():
        with open(tmp_path / f"{split}.bin", "wb") as file:
            file.truncate(2 * tokens)  # a hole: takes no space
    data = FineWeb(batch_size=batch_size, source="paper")
    splits = {split: {"file": f"{split}.bin", "tokens": 1, "sha256": ""} for split in ("train", "val")}
    data.token_files = TokenFiles(tmp_path, {"splits": splits, "tokenizer": {"vocab_size": 50257}})
    data.open()
    assert data.train_samples == 3_867_187
    assert data.steps == steps


def test_real_head_of_the_corpus_has_the_published_token_count(shared_data, gpt2_files, tmp_path):
    source = shared_data / "text" / "fineweb_edu_10bt_head.txt.gz"
    data = FineWeb(batch_size=16, source=str(source), data_dir=str(tmp_path))
    data.ensure_open()
    assert data.token_files is not None
    splits = data.token_files.manifest["splits"]
    assert splits["train"]["tokens"] + splits["val"]["tokens"] == 155_535
    assert splits["val"]["tokens"] == 1_555
    assert data.facts() == {"vocab_size": 50257, "seq_len": 256}


def test_real_text_comes_back_from_its_tokens(shared_data, gpt2_files, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    source = shared_data / "text" / "tinyshakespeare_first90.txt.gz"
    data = FineWeb(batch_size=16, source=str(source), data_dir=str(tmp_path))
    data.ensure_open()
    assert data.token_files is not None
    tokens = np.concatenate([data.token_files.tokens(split) for split in ("train", "val")])
    assert len(tokens) == 301_968
    assert len(tiktoken.get_encoding("gpt2").decode(tokens.tolist())) == 1_003_857


def test_real_documents_in_workers_have_the_published_token_count(shared_data, gpt2_files, tmp_path):
    source = shared_data / "text" / "fineweb_10bt_legalbias.jsonl.gz"
    data = FineWeb(batch_size=16, source=str(source), data_dir=str(tmp_path), num_workers=2)
    data.ensure_open()
    assert data.token_files is not None
    manifest = data.token_files.manifest
    assert sum(split["tokens"] for split in manifest["splits"].values()) == 2_979_806
    assert manifest["text"] == {"documents": 1945, "bytes": 13_236_415}


@pytest.mark.parametrize("name", ["byte", "bpe:1024"])
def test_sample_is_ready_for_training(name, tmp_path):
    data = FineWeb(batch_size=16, tokenizer=name, data_dir=str(tmp_path), budget_tokens=2.0e5, seq_len=128)
    fingerprint = data.ensure_open()
    assert data.facts()["vocab_size"] == (256 if name == "byte" else 1024)
    assert data.train_samples > 1000 and data.val_samples >= 16
    assert data.steps == int(2.0e5 // 128 // 16)
    block = next(data.blocks(data.plan(), 0))
    assert block[0][0].shape == (16, 129)
    assert int(block[0][0].max()) < data.facts()["vocab_size"]
    again = FineWeb(batch_size=4, tokenizer=name, data_dir=str(tmp_path))
    assert again.ensure_open() == fingerprint


def test_every_setting_reaches_the_command_line():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(FineWeb, "data")
    settings = parser.parse_args(["--data.batch_size=4", "--data.budget_tokens=2.0e6", "--data.source=sample"])
    assert settings.data.budget_tokens == 2.0e6
    assert {"tokenizer", "seq_len", "val_share", "max_tokens", "micro_batch", "num_workers"} <= set(vars(settings.data))
