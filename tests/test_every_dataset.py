"""Every dataset's own code, from raw files that the test writes to a batch whose content is known."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import torch
from image_shards import open_images, write_shards

from suite.training.data import Data
from tasks.hg38.data import HG38
from tasks.imagenet1k_lt.data import ImageNet1kLTData
from tasks.imagenet21k.data import ImageNet21kData
from tasks.kinds.text import tokenizer
from tasks.kinds.text.tokenizer import train_bpe
from tasks.zinc.data import Zinc
from tasks.zinc.molecules import ATOM_TYPES
from tasks.zinc.target import DEVIATIONS, MEANS

ROOT = Path(__file__).resolve().parents[1]
TEXT = "the gap of the batch size, the size of the gap. "
SETTINGS = {"batch_size": 2, "num_workers": 1}


@pytest.fixture(autouse=True)
def small_gpt2(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """GPT-2's splitting rule and special token, with bytes and two merges as its vocabulary."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, b"the": 257}
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 258}, explicit_n_vocab=259
    )
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: encoding)
    tokenizer._tiktoken_encoding.cache_clear()
    yield
    tokenizer._tiktoken_encoding.cache_clear()


def test_gpt2_reads_white_space_without_end() -> None:
    text = "the" + " " * 200_000 + "the" + "\n" * 200_000 + "x" + " " * 10_000 + "\u3000the" + "\t" * 20_000
    (ids,) = tokenizer.load_tokenizer("gpt2").encode([text])
    pieces = ["the", " " * 199_999, " the", "\n" * 199_999, "\n", "x", " " * 10_000, "\u3000", "the", "\t" * 20_000]
    expected = [token for piece in pieces for token in tiktoken.get_encoding("gpt2").encode_ordinary(piece)]
    assert ids.tolist() == expected


def tokens_of(data: Data) -> list[int]:
    """All inputs of the training split, in stored order."""
    return data.gather("train", np.arange(data.train_samples))[:, :-1].flatten().tolist()


def fineweb(folder: Path, name: str = "fineweb.FineWeb") -> None:
    (folder / "a.jsonl").write_text(json.dumps({"text": TEXT * 20 + "<|endoftext|>"}) + "\n")
    module, _, cls = name.partition(".")
    data = getattr(importlib.import_module(f"tasks.{module}.data"), cls)(
        source=str(folder), data_dir=str(folder / "data"), tokenizer="gpt2", seq_len=8, val_share=0.1, **SETTINGS
    )
    data.ensure_open()
    expected = [257, *b" gap of ", *b"the batch size, "]
    found = tokens_of(data)
    assert found[:9] == expected[:9] and found.count(257) > 20 and 258 not in found
    assert data.facts() == {"vocab_size": 259, "seq_len": 8}


def tinystories(folder: Path) -> None:
    fineweb(folder, "tinystories.TinyStories")


def slimpajama(folder: Path) -> None:
    from tasks.slimpajama.data import SlimPajama

    bpe = train_bpe(270, [TEXT * 3])
    (folder / "tokenizer.json").write_text(bpe.definition)
    (folder / "raw").mkdir()
    (folder / "raw" / "a.txt").write_text(TEXT * 20)
    data = SlimPajama(
        source=str(folder / "raw"), data_dir=str(folder / "data"), tokenizer=f"gpt-neox:{folder / 'tokenizer.json'}",
        seq_len=8, val_share=0.1, **SETTINGS,
    )  # fmt: skip
    data.ensure_open()
    found = tokens_of(data)
    assert found == bpe.encode([TEXT * 20])[0].tolist()[: len(found)] and len(found) > 100
    assert data.facts()["vocab_size"] == 270


def hg38(folder: Path) -> None:
    (folder / "a.fa").write_text("".join(f">chr{number}\nACGTacgt\nNNRA\n" for number in range(40)))
    data = HG38(source=str(folder), data_dir=str(folder / "data"), kmer=2, seq_len=6, val_share=0.1, **SETTINGS)
    data.ensure_open()
    assert tokens_of(data)[:12] == [1, 11, 1, 11, 16, 16] * 2 and data.facts()["vocab_size"] == 17


def zinc(folder: Path) -> None:
    # logP, synthetic accessibility and the longest ring beyond six atoms: aspirin, caffeine, a lactone of 16 atoms.
    known = {
        "CC(=O)Oc1ccccc1C(=O)O": (1.3101, 1.580, 0),
        "Cn1c(=O)c2c(ncn2C)n(C)c1=O": (-1.0293, 2.298, 0),
        "O=C1CCCCCCCCCCCCCCO1": (4.6145, 2.351, 10),
    }
    (folder / "a.csv").write_text("name,smiles\n" + "".join(f"m,{smiles}\n" for smiles in known))
    data = Zinc(source=str(folder), data_dir=str(folder / "data"), rrwp_steps=3, val_share=0.34, **SETTINGS)
    data.ensure_open()
    signs = np.array([1, -1, -1])
    expected = [float((signs * (np.array(terms) - MEANS) / DEVIATIONS).sum()) for terms in known.values()]
    found = [*data.targets("train"), *data.targets("val")]
    assert sorted(found) == pytest.approx(sorted(expected), abs=2e-3)
    batch = data.gather("train", np.array([0, 1]))
    assert {ATOM_TYPES[kind] for kind in batch.atoms.tolist()} <= {"C", "O", "N"} and batch.num_graphs == 2
    assert batch.pairs.rrwp[:, 1].sum().item() == pytest.approx(len(batch.atoms), rel=1e-3)


def imagenet21k(folder: Path, cls: type = ImageNet21kData) -> None:
    write_shards(folder / "shards")
    same = {"source": str(folder / "shards"), "data_dir": str(folder / "data"), "image_size": 16, **SETTINGS}
    data = cls(**same)
    data.ensure_open()
    plain = open_images(folder / "shards", folder / "data")
    labels = data.of_split("train").labels()
    assert (len(plain.of_split("train")), data.val_samples, data.facts()["classes"]) == (24, 4, 4)
    if cls is ImageNet21kData:
        assert labels.tolist() == [i % 4 for i in range(24)]
    else:
        assert np.bincount(labels).tolist() == [6, 3, 2, 2]
    (batch, *_) = data.gather_steps(data.plan(), 0, 1)
    assert batch.partners.tolist() == [1, 0] and batch.images.shape == (2, 3, 16, 16)
    own = data.gather("train", data.plan().indices(0)[0])
    assert torch.equal(own.labels, batch.labels)
    assert torch.allclose(batch.images, batch.share * own.images + (1 - batch.share) * own.images.flip(0), atol=1e-5)


def imagenet1k_lt(folder: Path) -> None:
    imagenet21k(folder, ImageNet1kLTData)


CHECKS: dict[str, Callable[[Path], None]] = {
    check.__name__: check for check in (fineweb, tinystories, slimpajama, hg38, zinc, imagenet21k, imagenet1k_lt)
}


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in ROOT.glob("tasks/*/data.py") if "toy" not in str(path))
)
def test_every_dataset_reads_its_raw_files(name: str, tmp_path: Path) -> None:
    CHECKS[name](tmp_path)
