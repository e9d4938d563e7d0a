"""Nucleotides per second of hg38's preparation against a loop over characters, decompression included.

Both read the same gzipped FASTA file and end with the same tokens in memory. They take turns, so that a busy machine
slows both; the table shows medians. Expected ratio: at least 8, for characters and for k-mers.

    python benchmarks/nucleotides.py [--source FILE.fa.gz] [--rounds 3]

Without a source it uses the generated sample.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.hg38.genomes import LocalGenome
from tasks.hg38.kmers import KmerTokens
from tasks.hg38.sample import fasta_text

LEAST_RATIO = 8


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = options.source or write_sample(Path(name) / "sample.fa.gz")
        nucleotides = len(by_table(source, 1))
        print(f"{nucleotides / 1e6:.1f} million nucleotides, {options.rounds} rounds, million nucleotides/s")
        print(f"{'':12}{'loop':>10}{'table':>10}{'ratio':>10}")
        for k in (1, 4, 6):
            loop, table = interleaved(source, k, options.rounds)
            ratio = statistics.median(a / b for a, b in zip(loop, table, strict=True))
            rates = [nucleotides / statistics.median(seconds) / 1e6 for seconds in (loop, table)]
            unit = "characters" if k == 1 else f"{k}-mers"
            print(
                f"{unit:12}{rates[0]:10.1f}{rates[1]:10.1f}{ratio:10.1f}{'' if ratio >= LEAST_RATIO else '  TOO LOW'}"
            )


def interleaved(source: Path, k: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of both ways, taking turns."""
    loop, table = [], []
    for _ in range(rounds):
        seconds, slow = timed(by_loop, source, k)
        loop.append(seconds)
        seconds, fast = timed(by_table, source, k)
        table.append(seconds)
        assert np.array_equal(slow, fast), "the two ways give different tokens"
    return loop, table


def timed(function: Callable[[Path, int], np.ndarray], source: Path, k: int) -> tuple[float, np.ndarray]:
    """Seconds that a call took, and what it returned."""
    start = time.perf_counter()
    result = function(source, k)
    return time.perf_counter() - start, result


def by_table(source: Path, k: int) -> np.ndarray:
    """Tokens as the suite makes them."""
    kmers = KmerTokens(k)
    return np.concatenate([kmers.tokens(stretch) for stretch in LocalGenome(source).stretches()])


def by_loop(source: Path, k: int) -> np.ndarray:
    """Tokens as the definition reads, character by character."""
    codes = {"A": 0, "C": 1, "G": 2, "T": 3}
    tokens: list[int] = []
    code, has_n, seen = 0, False, 0
    with gzip.open(source, "rt") as file:
        for line in file:
            if line[0] == ">":
                code, has_n, seen = 0, False, 0
                continue
            if k == 1:
                for letter in line.strip().upper():
                    tokens.append(codes.get(letter, 4))
                continue
            for letter in line.strip().upper():
                digit = codes.get(letter)
                if digit is None:
                    has_n = True
                else:
                    code = 4 * code + digit
                seen += 1
                if seen == k:
                    tokens.append(4**k if has_n else code)
                    code, has_n, seen = 0, False, 0
    return np.array(tokens)


def write_sample(path: Path) -> Path:
    """The generated genome as a gzipped FASTA file."""
    with gzip.open(path, "wb", compresslevel=6) as file:
        for chunk in fasta_text():
            file.write(chunk)
    return path


if __name__ == "__main__":
    main()
