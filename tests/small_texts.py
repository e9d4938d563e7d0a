"""A folder of short texts, and a corpus of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tasks.kinds.text.documents import LocalText
from tasks.kinds.text.preparation import Corpus

WORDS = [
    "the", "of", "optimizer", "gap", "batch", "size", "is", "é", "noise", "step", "learning",
    "rate", "large", "momentum",
]  # fmt: skip


def write_texts(folder: Path) -> Path:
    """120 documents as JSONL and one as text; returns the folder."""
    rng = np.random.default_rng(0)
    words = np.array(WORDS)
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        rows = [" ".join(rng.choice(words, size=rng.integers(0, 60))) for _ in range(60)]
        (folder / name).write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    (folder / "c.txt").write_text(" ".join(rng.choice(words, size=400)))
    return folder


def contents(data_dir: Path) -> dict[str, bytes]:
    (folder,) = [path for path in data_dir.iterdir() if path.name != ".locks"]
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def corpus(source: Path, tokenizer: str = "byte", **values) -> Corpus:
    values = {"val_share": 0.1, "max_tokens": None} | values
    return Corpus(dataset="toy", source=LocalText(source), tokenizer=tokenizer, **values)
