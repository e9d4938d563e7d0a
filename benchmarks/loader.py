"""Tokens per second of the suite's loader against one `Dataset.__getitem__` per sample.

Both read the same token file in shuffled order and give int64 batches. Runs take turns, so that a busy
machine slows both; the table shows medians. Expected ratio: at least 5.

    python benchmarks/loader.py [--batch-size 64] [--seq-len 256] [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.fineweb.data import FineWeb


class PerSample(Dataset):
    """The usual way: one slice of the memory map per sample, stacked by the loader."""

    def __init__(self, path: Path, seq_len: int) -> None:
        self.tokens = np.memmap(path, dtype="<u2", mode="r")
        self.seq_len = seq_len

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.seq_len

    def __getitem__(self, index: int) -> torch.Tensor:
        window = self.tokens[index * self.seq_len : (index + 1) * self.seq_len + 1]
        return torch.from_numpy(window.astype(np.int64))


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = FineWeb(
            batch_size=options.batch_size,
            seq_len=options.seq_len,
            tokenizer="byte",
            source=str(write_text(Path(folder))),
            data_dir=folder,
        )
        data.ensure_open()
        assert data.token_files is not None
        usual = DataLoader(
            PerSample(data.token_files.folder / "train.bin", options.seq_len),
            batch_size=options.batch_size,
            shuffle=True,
            drop_last=True,
        )
        rates: dict[str, list[float]] = {"loader": [], "usual": []}
        for round_number in range(options.rounds):
            data.seed = round_number
            plan = data.plan()
            batches = (micro for block in data.blocks(plan, 0) for step in block for micro in step)
            rates["loader"].append(tokens_per_second(batches))
            rates["usual"].append(tokens_per_second(iter(usual)))
    loader, per_sample = statistics.median(rates["loader"]), statistics.median(rates["usual"])
    ratio = statistics.median(a / b for a, b in zip(rates["loader"], rates["usual"], strict=True))
    print(f"batch size {options.batch_size}, {options.seq_len} tokens per sample, {options.rounds} rounds")
    print(f"{'':30}{'million tokens/s':>18}")
    print(f"{'blocks of gathered batches':30}{loader / 1e6:18.1f}")
    print(f"{'one __getitem__ per sample':30}{per_sample / 1e6:18.1f}")
    print(f"{'ratio':30}{ratio:18.1f}")


def write_text(folder: Path) -> Path:
    """Eight million random bytes of text: what they say does not matter here."""
    letters = np.frombuffer(b"abcdefgh ijklmnop\n", dtype=np.uint8)
    path = folder / "text.txt"
    path.write_bytes(np.random.default_rng(0).choice(letters, size=8_000_000).tobytes())
    return path


def tokens_per_second(batches: Iterator[torch.Tensor]) -> float:
    """Consume one epoch."""
    start = time.perf_counter()
    tokens = sum(batch.shape[0] * (batch.shape[1] - 1) for batch in batches)
    return tokens / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
