"""How long one step of each optimizer takes, as a ratio to torch's fused Adam in the same run.

    python benchmarks/optimizers.py [--rounds 7] [--device cpu|cuda] [--json FILE] [NAME ...]

The parameters are those of a GPT of 49M: vocabulary 50257, width 384, 6 layers. The steps of all optimizers take turns,
so that a busy machine slows all alike; the ratio is the median over rounds of neighbouring times. ``fused`` is what
torch.compile makes of a rule's arithmetic, the default at this size; ``gain`` is the time of the same rule as it stands
over that, with the quartiles of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suite.optim import build

WIDTH, LAYERS, VOCABULARY = 384, 6, 50257

SPECS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "momentum": 0.9},
    "sgd, independent decay": {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "decay": "independent"},
    "adam, independent decay": {"name": "adam", "beta": 0.95, "weight_decay": 1e-3, "decay": "independent"},
    "adam, gradient start": {
        "name": "adam",
        "beta": 0.95,
        "bias_correction": False,
        "initialization": "gradient",
    },
    "adavar": {"name": "adavar"},
    "adavar, free": {"name": "adavar", "gamma": 0.9, "tau": 0.97},
    "rmsprop": {"name": "rmsprop"},
    "signsgd": {"name": "signsgd"},
    "signum": {"name": "signum"},
    "ema_sign": {"name": "ema_sign"},
    "sgd_coordinate_clip": {"name": "sgd_coordinate_clip", "momentum": 0.9},
    "nsgd": {"name": "nsgd", "momentum": 0.9},
    "sgd_quantile_clip": {"name": "sgd_quantile_clip", "momentum": 0.9},
    "grafted": {
        "name": "grafted",
        "magnitude": {"name": "sgd", "momentum": 0.9},
        "direction": {"name": "signum"},
    },
}


def parameters(device: str) -> dict[str, Tensor]:
    """Parameters with gradients, shaped like the GPT's."""
    shapes = {"embedding": (VOCABULARY, WIDTH), "embedding_norm": (WIDTH,)}
    for i in range(LAYERS):
        shapes |= {
            f"{i}.norm1": (WIDTH,),
            f"{i}.qkv": (3 * WIDTH, WIDTH),
            f"{i}.query_norm": (64,),
            f"{i}.key_norm": (64,),
            f"{i}.out": (WIDTH, WIDTH),
            f"{i}.norm2": (WIDTH,),
            f"{i}.fc1": (4 * WIDTH, WIDTH),
            f"{i}.fc2": (WIDTH, 4 * WIDTH),
        }
    shapes |= {"norm": (WIDTH,), "head": (VOCABULARY, WIDTH)}
    made = {name: nn.Parameter(0.02 * torch.randn(shape, device=device)) for name, shape in shapes.items()}
    for parameter in made.values():
        parameter.grad = 0.01 * torch.randn_like(parameter)
    return dict(made)


def seconds(optimizer: torch.optim.Optimizer, device: str) -> float:
    """Wall time of one step."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", help=f"of {', '.join(SPECS)}; default: all")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    moved = parameters(options.device)
    chosen = options.names or list(SPECS)
    baseline = build({"name": "adam", "lr": 1e-5}, moved.items())
    rows = {}
    for name in chosen:
        spec = {**SPECS[name], "lr": 1e-5}
        arms = [baseline, build(spec, moved.items()), build(spec, moved.items(), compiled=False)]
        for arm in 3 * arms:
            arm.step()
        rounds = [[seconds(arm, options.device) for arm in arms] for _ in range(options.rounds)]
        low, gain, high = statistics.quantiles([plain / fused for _, fused, plain in rounds], n=4)
        row = rows[name] = {
            "ratio": statistics.median(fused / adam for adam, fused, _ in rounds),
            "milliseconds": 1e3 * statistics.median(fused for _, fused, _ in rounds),
            "adam_milliseconds": 1e3 * statistics.median(adam for adam, _, _ in rounds),
            "gain": gain,
        }
        print(
            f"{name:26s} {row['ratio']:5.2f} x Adam  ({row['milliseconds']:.0f} / {row['adam_milliseconds']:.0f} ms)"
            f"  gain {gain:.2f} ({low:.2f}-{high:.2f})",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
