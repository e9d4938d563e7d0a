"""Tokens per second of text preparation with several worker processes against one.

The whole of it is timed: reading, tokenizing, writing, checksums, starting the workers. Runs take turns, so that a busy
machine slows both; the table shows medians. Expected ratio with two free cores: at least 1.6.

    python benchmarks/preparation.py [--source FILE_OR_FOLDER] [--tokenizer gpt2] [--workers 2] [--rounds 3]

Without a source it uses the embedded sample several times over, and without tiktoken's files a `bpe:4096` trained on it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.text.documents import LocalText
from tasks.text.preparation import Corpus, prepare_text
from tasks.text.sample import SampleText
from tasks.text.tokenizer import load_tokenizer, train_bpe


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--tokenizer", default="gpt2")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = options.source or write_sample(folder / "sample.jsonl", megabytes=24)
        tokenizer = available_tokenizer(options.tokenizer, folder)
        corpus = Corpus(
            dataset="benchmark", source=LocalText(source), tokenizer=tokenizer, val_share=0.01, max_tokens=None
        )
        rates: dict[int, list[float]] = {1: [], options.workers: []}
        fingerprints = set()
        for number in range(options.rounds):
            for workers, found in rates.items():
                start = time.perf_counter()
                files = prepare_text(corpus, folder / f"{workers}-{number}", workers=workers)
                tokens = sum(split["tokens"] for split in files.manifest["splits"].values())
                found.append(tokens / (time.perf_counter() - start))
                fingerprints.add(files.fingerprint)
    assert len(fingerprints) == 1, "the tokens depend on the number of workers"
    print(f"{tokens / 1e6:.1f} million tokens, tokenizer {tokenizer.partition(':')[0]}, {options.rounds} rounds")
    print(f"{'':20}{'million tokens/s':>18}")
    for workers, found in rates.items():
        print(f"{f'{workers} worker' + 's' * (workers > 1):20}{statistics.median(found) / 1e6:18.2f}")
    ratio = statistics.median(b / a for a, b in zip(rates[1], rates[options.workers], strict=True))
    print(f"{'ratio':20}{ratio:18.2f}")


def write_sample(path: Path, *, megabytes: int) -> Path:
    """The embedded sample, repeated to a size at which starting workers does not count."""
    documents = [piece.text for piece in SampleText().pieces()]
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            for text in documents:
                written += file.write(json.dumps({"text": text}) + "\n")
    return path


def available_tokenizer(name: str, folder: Path) -> str:
    """The tokenizer asked for, or one trained on the sample where its files cannot be had."""
    try:
        load_tokenizer(name)
    except ValueError as error:
        print(f"{error}\nGoing on with bpe:4096, trained on the embedded sample.", file=sys.stderr)
        path = folder / "tokenizer.json"
        path.write_text(train_bpe(4096, (piece.text for piece in SampleText().pieces())).definition)
        return f"gpt-neox:{path}"
    return name


if __name__ == "__main__":
    main()
