"""Text as samples: exact windows, batches gathered at once, budgets in tokens, the seed's order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.training import configurable
from tasks.kinds.sequences.windows import TokenWindows
from tasks.kinds.text.data import TextTokens


@configurable
class TextData(TextTokens, TokenWindows):
    dataset = "text"


TEXT = "".join(chr(97 + (7 * i + i // 26) % 26) for i in range(5000))


@pytest.fixture
def make(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT)

    def data(**values) -> TextData:
        settings = {
            "source": str(tmp_path / "corpus.txt"),
            "data_dir": str(tmp_path / "data"),
            "tokenizer": "byte",
        }
        return TextData(**({"batch_size": 4, "seq_len": 16, "val_share": 0.1} | settings | values))

    return data


def test_samples_are_windows_that_share_one_token(make):
    data = make()
    data.ensure_open()
    train, val = TEXT[:4500].encode(), TEXT[4500:].encode()
    assert (data.train_samples, data.val_samples) == ((4500 - 1) // 16, 500 // 16)
    for split, text in {"train": train, "val": train[-1:] + val}.items():
        samples = getattr(data, f"{split}_samples")
        batch = data.gather(split, np.arange(samples))
        assert batch.dtype == torch.int64 and batch.shape == (samples, 17)
        for i in (0, 1, samples - 1):
            assert bytes(batch[i].tolist()) == text[16 * i : 16 * i + 17]
    assert data.facts() == {"vocab_size": 256, "seq_len": 16}


def test_last_token_is_used_when_it_completes_a_sample(make):
    data = make(val_share=0.5, max_tokens=2 * (16 * 3 + 1))
    data.ensure_open()
    assert (data.train_samples, data.val_samples) == (3, 3)
    data = make(val_share=0.5, max_tokens=2 * (16 * 3))
    data.ensure_open()
    assert (data.train_samples, data.val_samples) == (2, 3)


@pytest.mark.parametrize("val_tokens", [16, 17, 31, 32])
def test_every_token_of_whole_validation_samples_is_a_target(make, val_tokens):
    data = make(val_share=val_tokens / 500, max_tokens=500)
    data.ensure_open()
    targets = data.gather("val", np.arange(data.val_samples))[:, 1:].flatten()
    text = TEXT[500 - val_tokens : 500].encode()
    assert bytes(targets.tolist()) == text[: len(text) // 16 * 16]


def test_batches_gathered_at_once_equal_batches_gathered_one_by_one(make):
    data = make()
    data.ensure_open()
    rows = np.random.default_rng(0).integers(0, data.train_samples, size=(5, 3))
    together = data.gather_many("train", rows)
    assert len(together) == 5
    for batch, row in zip(together, rows, strict=True):
        assert torch.equal(batch, data.gather("train", row))


def test_order_is_the_seeds_and_goes_on_mid_epoch(make):
    data = make(budget_epochs=3)
    data.ensure_open()
    data.seed = 5
    plan = data.plan()

    def stream(first: int) -> list[torch.Tensor]:
        return [micro for block in data.blocks(plan, first) for step in block for micro in step]

    whole, rest = stream(0), stream(101)
    assert len(whole) == 3 * (281 // 4)
    assert all(torch.equal(a, b) for a, b in zip(whole[101:], rest, strict=True))
    data.seed = 6
    plan = data.plan()
    assert not torch.equal(stream(0)[0], whole[0])


def test_budget_in_tokens(make):
    data = make(budget_tokens=2.0e3)
    data.ensure_open()
    assert data.budget_as_samples() == 125 and data.steps == 125 // 4
    data = make(budget_tokens=2.0e3, budget_steps=3)
    data.ensure_open()
    with pytest.raises(ValueError, match=r"one budget, got data\.budget_steps=3 and data\.budget_tokens=2000"):
        _ = data.steps
    data = make(budget_samples=10)
    data.ensure_open()
    assert data.steps == 2


@pytest.mark.parametrize(
    ("budget", "passes", "repeated"),
    [({"budget_steps": 105}, 1.5, True), ({"budget_tokens": 4480}, 1, False), ({"budget_epochs": 3}, 3, False)],
)
def test_a_budget_that_passes_over_the_data_again_unasked_is_known(make, budget, passes, repeated):
    data = make(**budget)  # 281 samples, so 70 steps
    data.ensure_open()
    assert (data.passes, data.is_repeated) == (passes, repeated)


def test_too_little_text_is_one_sentence(make):
    with pytest.raises(ValueError, match=r"val split must have at least data\.seq_len = 512 tokens, got 500"):
        make(seq_len=512).ensure_open()
    with pytest.raises(ValueError, match=r"train split .* lower data\.val_share"):
        make(seq_len=100, val_share=0.99).ensure_open()
    with pytest.raises(ValueError, match=r"val split must have .* got 0"):
        make(max_tokens=50, val_share=0.01).ensure_open()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seq_len": 0}, "data.seq_len must be at least 1"),
        ({"budget_tokens": float("nan")}, "data.budget_tokens must be a finite number"),
        ({"max_tokens": -1}, "data.max_tokens must be at least 1"),
        ({"val_share": 1.0}, "data.val_share must be above 0 and below 1"),
    ],
)
def test_impossible_settings_are_one_sentence(make, values, message):
    with pytest.raises(ValueError, match=message):
        make(**values)


def test_unknown_source_is_one_sentence(make):
    with pytest.raises(ValueError, match=r"data\.source must be paper, sample, or an existing file or folder"):
        make(source="papr").ensure_open()
    with pytest.raises(ValueError, match=r"data\.source paper is not known for TextData"):
        make(source="paper").ensure_open()


def test_fingerprint_follows_the_text(make):
    assert make().ensure_open() == make(seq_len=32).ensure_open()
    assert make().ensure_open() != make(max_tokens=4000).ensure_open()


def test_verify_reads_the_checksums(make):
    data = make()
    data.verify()
    assert data.token_files is not None
    path = data.token_files.folder / "train.bin"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.bin must have the checksum"):
        make().verify()
