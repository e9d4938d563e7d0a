"""Moving the rows of a pack on a CPU: torch's kernel once per run, a rule's arithmetic in pieces, or whole.

    python benchmarks/rows.py [--rounds 9]

For packs of 4, 9 and 16 runs and networks of several sizes, medians over rounds in which the ways take turns, with the
quartiles of the rounds in brackets. ``kernels``: time of the arithmetic in pieces over that of torch's kernels, which
sgd and adam have; above 1 the kernels are faster, and `suite.packs.torch_rows.SHORTEST` is the size from which they are
used. ``pieces``: time of the arithmetic on whole rows over that in pieces of
`suite.packs.runs_optimizer.ELEMENTS_AT_A_TIME` elements.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from suite.optim import parse
from suite.packs import runs_optimizer
from suite.packs.runs_optimizer import Layout, RunsOptimizer, shared_groups
from suite.packs.runs_step import RunsStep

RULES = {
    "sgd": {"name": "sgd", "momentum": 0.9},
    "adam": {"name": "adam", "beta": 0.9},
    "signum": {"name": "signum", "momentum": 0.9},
    "adavar": {"name": "adavar"},
}
SIZES = (8_192, 16_384, 65_536, 180_000, 720_000)
NEVER = 1 << 60
WAYS = {"kernels": (0, 1 << 18), "pieces": (NEVER, 1 << 18), "whole": (NEVER, NEVER)}
"""Way -> `SHORTEST` and `ELEMENTS_AT_A_TIME`."""


def pack(rule: str, runs: int, size: int) -> tuple[RunsOptimizer, RunsStep]:
    """Runs of one rule with learning rates of their own on a vector of parameters, and their second step."""
    module = nn.Module()
    module.register_parameter("weight", nn.Parameter(torch.randn(size)))
    groups = shared_groups([parse({**RULES[rule], "lr": 1e-4 * (1 + run)}) for run in range(runs)], module)
    layout = Layout.of(module, [name for same in groups for name in same[0].names])
    flat = nn.Parameter(torch.randn(runs, size))
    optimizer = RunsOptimizer(flat, layout, groups)
    return optimizer, RunsStep(flat.detach(), torch.randn(runs, size), optimizer.buffers, optimizer.numbers, 2)


def seconds(way: str, optimizer: RunsOptimizer, step: RunsStep, repeats: int) -> float:
    """Of one step."""
    runs_optimizer.SHORTEST, runs_optimizer.ELEMENTS_AT_A_TIME = WAYS[way]
    started = time.perf_counter()
    with torch.no_grad():
        for _ in range(repeats):
            optimizer.move(step)
    return (time.perf_counter() - started) / repeats


def ratio(rule: str, runs: int, size: int, ways: tuple[str, str], rounds: int) -> str:
    """Time of the first way over that of the second."""
    optimizer, step = pack(rule, runs, size)
    repeats = max(4, 1_000_000 // (runs * size))
    for way in ways:
        seconds(way, optimizer, step, 2)
    pairs = [[seconds(way, optimizer, step, repeats) for way in ways] for _ in range(rounds)]
    low, middle, high = statistics.quantiles([first / second for first, second in pairs], n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{'rule':8}{'way':8}{'runs':>5}" + "".join(f"{size:>18,}" for size in SIZES))
    for rule in RULES:
        for name, ways in {"kernels": ("pieces", "kernels"), "pieces": ("whole", "pieces")}.items():
            if name == "pieces" or rule in ("sgd", "adam"):
                for runs in (4, 9, 16):
                    cells = [ratio(rule, runs, size, ways, rounds) for size in SIZES]
                    print(f"{rule:8}{name:8}{runs:>5}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
