"""Moving the rows of a pack: torch's kernel once per run against the rule's arithmetic on all runs at once.

    python benchmarks/rows.py [--rounds 9]

For packs of 4, 9 and 16 runs and networks of several sizes, the time of one optimizer step by the arithmetic over that
by the kernels: above 1 the kernels are faster. Both sides take turns; medians over rounds.
`suite.packs.torch_rows.SHORTEST` is the size from which the kernels are used.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from suite.optim import parse, runs_optimizer
from suite.packs.runs_optimizer import Layout, RunsOptimizer, shared_groups

RULES = {"sgd": {"name": "sgd", "momentum": 0.9}, "adam": {"name": "adam", "beta": 0.9}}
SIZES = (2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 180_000)


def pack(rule: str, runs: int, size: int) -> RunsOptimizer:
    """Runs of one rule with learning rates of their own on a vector of parameters."""
    module = nn.Module()
    module.register_parameter("weight", nn.Parameter(torch.randn(size)))
    groups = shared_groups([parse({**RULES[rule], "lr": 1e-4 * (1 + run)}) for run in range(runs)], module)
    layout = Layout.of(module, [name for same in groups for name in same[0].names])
    flat = nn.Parameter(torch.randn(runs, size))
    flat.grad = torch.randn(runs, size)
    return RunsOptimizer(flat, layout, groups)


def seconds(optimizer: RunsOptimizer, shortest: int, steps: int) -> float:
    """Per step, with kernels for rows of at least ``shortest``."""
    runs_optimizer.SHORTEST = shortest
    (flat,) = optimizer.param_groups[0]["params"]
    grad = flat.grad
    started = time.perf_counter()
    for _ in range(steps):
        flat.grad = grad
        optimizer.step()
    return (time.perf_counter() - started) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{'rule':6}{'runs':>6}" + "".join(f"{size:>9}" for size in SIZES))
    for rule in RULES:
        for runs in (4, 9, 16):
            ratios = []
            for size in SIZES:
                optimizer = pack(rule, runs, size)
                steps = max(4, 2_000_000 // (runs * size))
                seconds(optimizer, 0, 3), seconds(optimizer, 1 << 60, 3)
                taken = [seconds(optimizer, 1 << 60, steps) / seconds(optimizer, 0, steps) for _ in range(rounds)]
                ratios.append(statistics.median(taken))
            print(f"{rule:6}{runs:>6}" + "".join(f"{ratio:>9.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
