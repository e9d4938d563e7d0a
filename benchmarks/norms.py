"""Norms of long vectors on a CPU, taken in sequence and by pieces: relative error in float32, and time.

    python benchmarks/norms.py [--rounds 9]

Two rows of normally distributed numbers; the two ways take turns, times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from suite.optim.norms import row_norms

COUNTS = (65_537, 164_352, 2_000_000, 28_000_000)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=9)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    ways = {"in sequence": lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True), "by pieces": row_norms}
    print(f"{'coordinates':>12} {'way':>12} {'error':>9} {'ms':>8} {'ratio':>6}")
    for count in COUNTS:
        rows = torch.randn(2, count, generator=torch.Generator().manual_seed(0))
        exact = torch.linalg.vector_norm(rows.double(), dim=-1, keepdim=True)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds + 1):
            for way, norm in ways.items():
                start = time.perf_counter()
                found = norm(rows)
                seconds[way].append(time.perf_counter() - start)
        base = statistics.median(seconds["in sequence"][1:])
        for way, norm in ways.items():
            found, took = norm(rows), statistics.median(seconds[way][1:])
            error = float(((found.double() - exact) / exact).abs().max())
            print(f"{count:>12} {way:>12} {error:>9.1e} {1000 * took:>8.3f} {took / base:>6.2f}")


if __name__ == "__main__":
    main()
