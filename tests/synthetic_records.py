"""Stores with planted answers: crossover, tuned settings and divergence are where we put them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from suite.analysis.verdict import Interval, holm, verdict
from suite.records import Store, final_losses


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What a synthetic sweep is to say.

    At batch size B the tuned Adam reaches ``level`` and the tuned SGD ``level - gap(B)`` with
    ``gap(B) = slope * (log2 B - log2 crossing)``. Away from the best learning rate the loss rises as a
    parabola in log10 lr, away from the best momentum by a constant per grid place, and above
    ``diverges_above`` times the best learning rate a run diverges.
    """

    batch_sizes: tuple[int, ...] = (1, 4, 16, 64, 256)
    seeds: tuple[int, ...] = (42,)
    report_seeds: tuple[int, ...] = ()
    crossing: float = 24.0
    slope: float = -0.06
    level: float = 3.4
    curvature: float = 0.35
    momentum_cost: float = 0.05
    diverges_above: float = 5.0
    noise: float = 0.02
    steps: int = 800
    start: float = 6.0
    lrs: dict[str, tuple[float, ...]] = field(
        default_factory=lambda: {
            "sgd": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
            "adam": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03),
        }
    )
    best_lr: dict[str, float] = field(default_factory=lambda: {"sgd": 0.3, "adam": 0.003})
    momenta: tuple[float, ...] = (0.9, 0.95, 0.99, 0.999)
    best_momentum: dict[str, float] = field(default_factory=lambda: {"sgd": 0.95, "adam": 0.99})
    momentum_name: dict[str, str] = field(default_factory=lambda: {"sgd": "momentum", "adam": "beta"})
    question: str = "Does the gap change sign with the batch size?"
    task: str = "synthetic/parabola"

    def gap(self, batch_size: int) -> float:
        """The planted gap, in loss."""
        return self.slope * (math.log2(batch_size) - math.log2(self.crossing))

    def final(self, optimizer: str, batch_size: int, lr: float, momentum: float) -> float:
        """Final loss of one setting without noise; +inf when it diverges."""
        best = self.best_lr[optimizer]
        if lr > best * self.diverges_above:
            return math.inf
        places = abs(self.momenta.index(momentum) - self.momenta.index(self.best_momentum[optimizer]))
        tuned = self.level - (self.gap(batch_size) if optimizer == "sgd" else 0.0)
        return tuned + self.curvature * math.log10(lr / best) ** 2 + self.momentum_cost * places


def write_store(path: Path, planted: Planted, *, leave_out: tuple[str, ...] = ()) -> tuple[Store, dict[str, Any]]:
    """Write all runs of a planted sweep and its plan; runs whose id is in ``leave_out`` stay missing."""
    store = Store(path)
    runs = []
    for optimizer, lrs in planted.lrs.items():
        best = planted.best_lr[optimizer], planted.best_momentum[optimizer]
        grid = [(lr, momentum, seed) for lr in lrs for momentum in planted.momenta for seed in planted.seeds]
        for batch_size in planted.batch_sizes:
            for lr, momentum, seed in grid + [(*best, seed) for seed in planted.report_seeds]:
                run_id = run_id_for(optimizer, batch_size, lr, momentum, seed)
                runs.append(
                    {
                        "run_id": run_id,
                        "optimizer": optimizer,
                        "batch_size": batch_size,
                        "seed": seed,
                        "axes": {"lr": lr, planted.momentum_name[optimizer]: momentum},
                        "steps": planted.steps,
                        "round": 0,
                        "reporting": seed in planted.report_seeds,
                    }
                )
                if run_id not in leave_out:
                    final = planted.final(optimizer, batch_size, lr, momentum)
                    _write_run(store, planted, runs[-1], final)
    plan = {
        "schema": 1,
        "plan_id": "synthetic-1a2b3c4d",
        "name": "synthetic",
        "file": "configs/sweeps/synthetic.yaml",
        "command": "python -m suite sweep configs/sweeps/synthetic.yaml",
        "question": planted.question,
        "source": "planted",
        "task": planted.task,
        "task_title": "Parabola on synthetic records",
        "overrides": {"data.source": "sample"},
        "final_loss": "ema",
        "seeds": list(planted.seeds),
        "batch_sizes": list(planted.batch_sizes),
        "runs": runs,
        "extend_edges": 2,
        "extend_axes": ["lr"],
    }
    store.write_plan(plan)
    return store, plan


def run_id_for(optimizer: str, batch_size: int, lr: float, momentum: float, seed: int = 42) -> str:
    """Id of one synthetic run: 16 hexadecimal digits."""
    text = f"{optimizer} {batch_size} {lr} {momentum} {seed}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def loss_curve(planted: Planted, final: float, seed: int) -> np.ndarray:
    """Per-step losses that fall to ``final``, with noise; a diverging run ends with a NaN."""
    rng = np.random.default_rng(seed)
    share = np.arange(planted.steps) / planted.steps
    if math.isinf(final):
        rising = planted.start * np.exp(share[: planted.steps // 8])
        return np.append(rising, math.nan)
    clean = final + (planted.start - final) * np.exp(-share / 0.06)
    return clean + planted.noise * rng.standard_normal(planted.steps)


def _write_run(store: Store, planted: Planted, run: dict[str, Any], final: float) -> None:
    losses = loss_curve(planted, final, seed=int(run["run_id"][:8], 16))
    diverged = bool(np.isnan(losses[-1]))
    steps = np.arange(len(losses))
    lr = run["axes"]["lr"] * (1 + np.cos(np.pi * steps / planted.steps)) / 2
    curves = pa.table(
        {
            "step": steps,
            "train_loss": losses,
            "lr": lr,
            "grad_norm": np.ones(len(losses)),
            "clipped": np.zeros(len(losses), dtype=bool),
        }
    )
    store.write_record(
        {
            "schema": 1,
            "run_id": run["run_id"],
            "status": "diverged" if diverged else "finished",
            "task": planted.task,
            "optimizer": {"name": run["optimizer"], **run["axes"]},
            "batch_size": run["batch_size"],
            "seed": run["seed"],
            "steps": planted.steps,
            "steps_done": len(losses),
            "diverged_at": len(losses) - 1 if diverged else None,
            "final": {} if diverged else final_losses(losses.tolist()),
            "metrics": {},
            "config": {},
            "identity": {},
            "data": {"name": "synthetic", "fingerprint": "0123456789abcdef", "samples": 1000},
            "parameters": 1234,
            "code": {"version": "0.1.0", "commit": "0123abcd", "dirty": True},
            "packages": {"torch": "2.15.0", "python": "3.11.2"},
            "device": {"kind": "cpu", "name": "synthetic processor", "count": 1},
            "host": "nowhere",
            "started": "2026-01-02T03:04:05+00:00",
            "ended": "2026-01-02T03:05:05+00:00",
            "seconds": {"train": 50.0, "eval": 5.0, "log": 5.0, "total": 60.0},
            "error": None,
        },
        curves,
    )


def gap_rows(gaps: list[float], sizes: list[int] | None = None, error: float = 0.05) -> pd.DataFrame:
    """Rows of a gap table, in percent, at batch sizes 1, 4, 16, ... unless told, with 20 degrees of freedom."""
    sizes = sizes or [4**power for power in range(len(gaps))]
    intervals = [Interval(estimate=gap, error=error, freedom=20) for gap in gaps]
    ahead = ["sgd" if gap > 0 else "adam" for gap in gaps]
    said = [verdict(interval, pair=("adam", "sgd"), margin=0.5, seeds=5) for interval in intervals]
    kinds = [None if math.isnan(gap) else one.kind for gap, one in zip(gaps, said, strict=True)]
    held = holm(np.array([0.0 if math.isinf(gap) else one.p for gap, one in zip(gaps, intervals, strict=True)]))
    half = intervals[0].half_width()

    def named(kind: str) -> pd.Series:
        return pd.Series([side if one == kind else None for one, side in zip(kinds, ahead, strict=True)], dtype=object)

    return pd.DataFrame(
        {
            "task": "toy/net",
            "reference": "adam",
            "challenger": "sgd",
            "batch_size": sizes,
            "gap": gaps,
            "relative_gap": gaps,
            "error": error,
            "relative_error": error,
            "freedom": 20.0,
            "uncertainty": half,
            "relative_uncertainty": half,
            "verdict": kinds,
            "better": named("better"),
            "leans": named("leans"),
            "together": [bool(holds) and kind == "better" for holds, kind in zip(held, kinds, strict=True)],
            "corrected": len(gaps),
            "margin": 0.5,
            "seeds": 5,
            "reference_loss": 100.0,
            "challenger_loss": [100.0 - gap for gap in gaps],
            "reference_edges": [()] * len(gaps),
            "challenger_edges": [()] * len(gaps),
        }
    )
