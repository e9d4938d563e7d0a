"""Tokenizers: exact ids, exact vocabulary sizes, and what is said when one cannot be had."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.kinds.text import tokenizer as module
from tasks.kinds.text.documents import split_before_space
from tasks.kinds.text.sample import SampleText
from tasks.kinds.text.tokenizer import bpe_size, json_tokenizer, load_tokenizer, tokenizer_identity, train_bpe

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def gpt2_files(shared_data, monkeypatch):
    pytest.importorskip("tiktoken")
    module._tiktoken_encoding.cache_clear()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tokenizers" / "tiktoken_cache"))


@pytest.fixture(scope="module")
def small_bpe():
    return train_bpe(400, (piece.text for piece in list(SampleText().pieces())[:300]))


def test_byte_ids_are_the_bytes():
    (ids,) = load_tokenizer("byte").encode(["aé"])
    assert ids.tolist() == list("aé".encode()) and ids.dtype == np.dtype("<u2")


def test_trained_bpe_has_exactly_the_size_and_is_the_same_every_time(small_bpe):
    again = train_bpe(400, (piece.text for piece in list(SampleText().pieces())[:300]))
    assert small_bpe.vocab_size == 400 and again == small_bpe
    (ids,) = small_bpe.encode(["of the "])
    assert ids.max() < 400 and len(ids) < 7


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("the of \n\t'sé1.,\r\x1c\xa0")))
def test_trained_bpe_does_not_see_where_long_text_was_cut(small_bpe, text):
    whole, first, second = small_bpe.encode([text, *split_before_space(text)])
    assert whole.tolist() == first.tolist() + second.tolist()


def test_gpt2_ids_are_the_published_ones(gpt2_files):
    tokenizer = load_tokenizer("gpt2")
    assert tokenizer.vocab_size == 50257
    # "Hello world" and the end-of-text mark as ordinary text.
    assert tokenizer.encode(["Hello world", "<|endoftext|>"])[0].tolist() == [15496, 995]
    assert 50256 not in tokenizer.encode(["<|endoftext|>"])[0]


def test_gpt2_does_not_see_where_long_text_was_cut(gpt2_files):
    tokenizer = load_tokenizer("gpt2")

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.sampled_from("the of \n\t'sé1.,\r\x1c\xa0\u3000")))
    def check(text: str) -> None:
        whole, first, second = tokenizer.encode([text, *split_before_space(text)])
        assert whole.tolist() == first.tolist() + second.tolist()

    check()


def test_gpt_neox_from_a_file(shared_data):
    name = f"gpt-neox:{shared_data / 'tokenizers' / 'gpt-neox-20b' / 'tokenizer.json'}"
    tokenizer = load_tokenizer(name)
    assert tokenizer.vocab_size == 50277
    assert len(tokenizer.encode(["<|endoftext|>"])[0]) > 1
    assert tokenizer_identity(name)["name"] == "gpt-neox" and len(tokenizer_identity(name)["sha256"]) == 64


def test_a_tokenizer_can_be_sent_to_a_process(small_bpe):
    assert pickle.loads(pickle.dumps(small_bpe)).encode(["of"])[0].tolist() == small_bpe.encode(["of"])[0].tolist()


@pytest.mark.parametrize("name", ["bpe:", "bpe:x", "bpe:255", "bpe:65537", "bpe:-5"])
def test_bpe_size_out_of_range_is_one_sentence(name):
    with pytest.raises(ValueError, match="needs a size from 256"):
        bpe_size(name)


def test_bpe_that_needs_more_text_says_so():
    with pytest.raises(ValueError, match=r"data.tokenizer bpe:1024 needs text with at least 1024"):
        train_bpe(1024, ["too little"])


def test_unknown_tokenizer_names_the_known_ones():
    with pytest.raises(ValueError, match=r"must be gpt2, gpt-neox, .* got 'gpt3'"):
        tokenizer_identity("gpt3")
    with pytest.raises(ValueError, match=r"must be gpt2, gpt-neox, .* got 'gpt3'"):
        load_tokenizer("gpt3")


def test_unavailable_gpt2_names_the_way_out(monkeypatch):
    tiktoken = pytest.importorskip("tiktoken")

    def offline(name: str):
        raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(tiktoken, "get_encoding", offline)
    module._tiktoken_encoding.cache_clear()
    with pytest.raises(ValueError, match=r"TIKTOKEN_CACHE_DIR.*bpe:1024") as error:
        load_tokenizer("gpt2")
    assert "\n" not in str(error.value)


def test_unavailable_gpt_neox_names_the_way_out(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")

    def offline(*args):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    with pytest.raises(ValueError, match="gpt-neox:<its path>"):
        load_tokenizer("gpt-neox")
    with pytest.raises(ValueError, match="cannot be read"):
        load_tokenizer(f"gpt-neox:{tmp_path / 'none.json'}")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json of the tokenizers library"):
        load_tokenizer(f"gpt-neox:{tmp_path / 'broken.json'}")


def test_ids_beyond_16_bits_are_refused(small_bpe):
    definition = json.loads(small_bpe.definition)
    definition["model"]["vocab"]["far"] = 65536
    with pytest.raises(ValueError, match=r"at most 65536 ids .* got 65537"):
        json_tokenizer("gpt-neox:big.json", json.dumps(definition))


def test_workers_import_neither_torch_nor_lightning():
    code = (
        "import sys, tasks.kinds.text.encoding; "
        "print([m for m in ('torch', 'lightning', 'datasets', 'tiktoken') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
