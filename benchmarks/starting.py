"""What starting costs: one run, a run that is there already and a sweep, beside the import of Lightning.

    python benchmarks/starting.py [--rounds 5]

A line per command with the medians of wall and processor seconds (its children's included), all measured in turn. Runs
have two steps of a toy problem, the sweep two of them and two workers, each round with seeds of its own in one store.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SUITE = [sys.executable, "-m", "suite"]
RUN = ["--task", "toy/quadratic", "--data.source", "sample", "--data.budget_steps", "2", "--optimizer", "sgd"]
SWEEP = {
    "task": "toy/quadratic",
    "overrides": {"data.source": "sample", "data.budget_steps": 2},
    "batch_size": [4],
    "optimizers": {"sgd": {"lr": [0.001]}, "adam": {"lr": [0.01]}},
}


def seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    took: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(rounds):
            (folder / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, "seeds": [100 + seed]}))
            fit = [*SUITE, "fit", *RUN, "--optimizer.lr", "0.001", "--seed", str(seed)]
            commands = {
                "import lightning.pytorch": [sys.executable, "-c", "import lightning.pytorch"],
                "fit, two steps": fit,
                "fit, already trained": fit,
                "sweep of two runs": [*SUITE, "sweep", "sweep.yaml", "--workers", "2"],
            }
            for what, command in commands.items():
                took.setdefault(what, []).append(seconds(command, folder))
    for what, each in took.items():
        wall, processor = (statistics.median(one) for one in zip(*each, strict=True))
        imports = statistics.median(one[0] / first[0] for one, first in zip(each, took[next(iter(took))], strict=True))
        print(f"{what}: {wall:.2f} s, {processor:.2f} s of processor time, {imports:.2f} imports")


if __name__ == "__main__":
    main()
