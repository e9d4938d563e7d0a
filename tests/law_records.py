"""Stores whose tuned losses follow a planted law of batch size, budget and settings of the task."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from suite.records import Store, final_losses

TOKENS = 32
"""Tokens of a sample."""

EVALUATIONS = 20

Loss = Callable[[str, str, int, Mapping[str, Any], float], float]
"""Panel, optimizer, batch size, setting and share of the budget -> loss without noise."""


def write_laws(
    path: Path,
    loss: Loss,
    *,
    panels: Mapping[str, Mapping[str, Any]],
    grids: Mapping[str, Mapping[str, Sequence[float]]],
    batch_sizes: Sequence[int] = (1, 4, 16, 64, 256),
    report_seeds: Sequence[int] = (2, 3, 4, 5),
    noise: float = 0.002,
    targets: Mapping[str, float] | None = None,
    name: str = "laws",
) -> tuple[Store, dict[str, Any]]:
    """Write a sweep of several panels; its runs are compared by their validation loss.

    Args:
        path: of the store.
        loss: see `Loss`; the noise of a run is added to all of its losses.
        panels: label -> changed settings of the task, of which ``data.budget_tokens`` makes the budget.
        grids: optimizer -> axis -> values.
        batch_sizes: of every panel.
        report_seeds: with which the best setting is trained again.
        noise: standard deviation between runs.
        targets: given target losses by panel.
        name: of the sweep.
    """
    store = Store(path)
    runs = []
    for (label, overrides), (optimizer, axes), size in itertools.product(panels.items(), grids.items(), batch_sizes):
        budget = float(overrides.get("data.budget_tokens", 1e6)) / TOKENS
        settings = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        tried = [(setting, 1, False) for setting in settings]
        shifts = {str(setting): _noise(noise, label, optimizer, size, setting, 1) for setting in settings}
        best = min(settings, key=lambda one: loss(label, optimizer, size, one, 1.0) + shifts[str(one)])
        for setting, seed, reporting in tried + [(best, seed, True) for seed in report_seeds]:
            run = {
                "run_id": _digest(label, optimizer, size, setting, seed), "panel": label, "optimizer": optimizer,
                "batch_size": size, "seed": seed, "axes": setting, "steps": int(budget // size), "round": 0,
                "reporting": reporting,
            }  # fmt: skip
            shares = np.arange(1, EVALUATIONS + 1) / EVALUATIONS
            losses = np.array([loss(label, optimizer, size, setting, share) for share in shares])
            shift = _noise(noise, label, optimizer, size, setting, seed)
            _write(store, run, losses + shift, str(overrides.get("task", "toy/net")))
            runs.append(run)
    plan = {
        "plan_id": f"{name}-00000000", "name": name, "question": "What is the law?", "task": "toy/net",
        "final_loss": "val", "seeds": [1], "report_seeds": list(report_seeds), "runs": runs,
        "panels": {
            label: {"task": "toy/net", "overrides": {key: v for key, v in overrides.items() if key != "task"}}
            for label, overrides in panels.items()
        },
        **({"targets": dict(targets)} if targets else {}),
    }  # fmt: skip
    store.write_plan(plan)
    return store, plan


def _digest(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:16]


def _noise(noise: float, *parts: object) -> float:
    return float(noise * np.random.default_rng(int(_digest(*parts)[:8], 16)).standard_normal())


def _write(store: Store, run: Mapping[str, Any], losses: np.ndarray, task: str) -> None:
    curves = pa.table({"step": np.arange(len(losses)), "train_loss": losses, "val/loss": losses})
    store.write_record(
        {
            "run_id": run["run_id"], "status": "finished", "task": task, "seed": run["seed"],
            "optimizer": {"name": run["optimizer"], **run["axes"]}, "batch_size": run["batch_size"],
            "steps": run["steps"], "final": final_losses(losses.tolist(), float(losses[-1])),
            "metrics": {"val/loss": float(losses[-1])}, "config": {}, "identity": {}, "facts": {"seq_len": TOKENS},
            "seconds": {"train": run["steps"] * 0.01, "eval": 1.0, "log": 0.0, "total": run["steps"] * 0.01 + 1.0},
        },
        curves,
    )  # fmt: skip
