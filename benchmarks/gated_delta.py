"""The gated delta rule in chunks and as the recurrence that defines it, on a CPU: time of loss and gradient.

    python benchmarks/gated_delta.py [--rounds 5]

Heads of the size in paper 1, batch 2; the two take turns, times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.gated_delta import chunked_gated_delta_rule, recurrent_gated_delta_rule

LENGTHS = (128, 256, 1024)
RULES = {"recurrence": recurrent_gated_delta_rule, "chunks": chunked_gated_delta_rule}


def arguments(length: int, heads: int = 3, keys: int = 48, values: int = 96) -> list[Tensor]:
    """Queries, keys, values, logarithms of the decay and betas, for which gradients are asked."""
    q, k = (F.normalize(torch.randn(2, length, heads, keys), dim=-1) for _ in "qk")
    v, beta = torch.randn(2, length, heads, values), torch.rand(2, length, heads)
    return [x.requires_grad_() for x in (q, k, v, -0.5 * torch.rand(2, length, heads), beta)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'length':>6} {'way':>10} {'ms':>9} {'ratio':>6}")
    for length in LENGTHS:
        given = arguments(length)
        seconds: dict[str, list[float]] = {way: [] for way in RULES}
        for _ in range(rounds + 1):
            for way, rule in RULES.items():
                start = time.perf_counter()
                torch.autograd.grad(rule(*given).sum(), given)
                seconds[way].append(time.perf_counter() - start)
        took = {way: statistics.median(times[1:]) for way, times in seconds.items()}
        for way, each in took.items():
            print(f"{length:>6} {way:>10} {1000 * each:>9.1f} {took['recurrence'] / each:>6.1f}")


if __name__ == "__main__":
    main()
