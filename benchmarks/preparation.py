"""Tokens per second of text preparation with several worker processes against one.

The whole of it is timed: starting the workers, reading, tokenizing, writing, checksums. Runs take turns, so
that a busy machine slows both; the table shows medians. Expected ratio with two free cores: at least 1.6. The
processor seconds tell whether a lower ratio is the code's (they grow with the workers) or the machine's (they
do not).

    python benchmarks/preparation.py [--source FILE_OR_FOLDER] [--tokenizer gpt2] [--workers 2] [--rounds 3]

Without a source it uses the embedded sample many times over, and without tiktoken's files a `bpe:4096`
trained on the sample.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.kinds.text.documents import LocalText
from tasks.kinds.text.preparation import Corpus, prepare_text
from tasks.kinds.text.sample import SampleText
from tasks.kinds.text.tokenizer import load_tokenizer, train_bpe


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--tokenizer", default="gpt2")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=96, help="size of the repeated sample")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = options.source or write_sample(folder / "sample.jsonl", megabytes=options.megabytes)
        tokenizer = available_tokenizer(options.tokenizer, folder)
        corpus = Corpus(
            dataset="benchmark",
            source=LocalText(source),
            tokenizer=tokenizer,
            val_share=0.01,
            max_tokens=None,
        )
        rates: dict[int, list[float]] = {1: [], options.workers: []}
        processor_seconds: dict[int, list[float]] = {1: [], options.workers: []}
        fingerprints = set()
        for number in range(options.rounds):
            for workers in rates:
                start, processor_start = time.perf_counter(), sum(os.times()[:4])
                files = prepare_text(corpus, folder / f"{workers}-{number}", workers=workers)
                tokens = sum(split["tokens"] for split in files.manifest["splits"].values())
                rates[workers].append(tokens / (time.perf_counter() - start))
                processor_seconds[workers].append(sum(os.times()[:4]) - processor_start)
                fingerprints.add(files.fingerprint)
    assert len(fingerprints) == 1, "the tokens depend on the number of workers"
    print(f"{tokens / 1e6:.1f} million tokens, {tokenizer.partition(':')[0]}, {options.rounds} rounds")
    print(f"{'':12}{'million tokens/s':>18}{'processor seconds':>20}")
    for workers, found in rates.items():
        name = f"{workers} worker{'s' * (workers > 1)}"
        seconds = statistics.median(processor_seconds[workers])
        print(f"{name:12}{statistics.median(found) / 1e6:18.2f}{seconds:20.1f}")
    ratio = statistics.median(b / a for a, b in zip(rates[1], rates[options.workers], strict=True))
    print(f"{'ratio':12}{ratio:18.2f}")


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
