"""A small sweep of two optimizers as a YAML, its runs without a training, and their records."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from suite.records import Store
from suite.sweep import Plan, PlannedRun, RunSpec

SPEC: dict[str, Any] = {
    "question": "Does it work?",
    "source": "a test",
    "task": "fineweb/gpt",
    "overrides": {"data.source": "sample"},
    "batch_size": [1, 2],
    "optimizers": {"sgd": {"lr": [0.03, 0.1, 0.3], "momentum": 0.9}, "adam": {"lr": [0.001, 0.01], "beta": 0.9}},
}


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**SPEC, **changes}, sort_keys=False))
    return path


def identify(run: RunSpec) -> tuple[str, int]:
    parts = run.panel, run.settings, run.batch_size, run.seed, run.diagnosed
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16], 10


def extended(plan: Plan, store: Store) -> list[PlannedRun]:
    return [run for group in plan.groups for run in plan.extend_group(group, store)]


def record(store: Store, run_id: str, loss: float, **others: float) -> None:
    final = {"ema": loss, **others} if math.isfinite(loss) else {}
    status = "finished" if final else "diverged"
    store.write_record(
        {"run_id": run_id, "status": status, "task": "t", "optimizer": {}, "batch_size": 1, "seed": 1, "steps": 10,
         "final": final, "metrics": {}, "config": {}},
        pa.table({"step": [0], "train_loss": [loss]}),
    )  # fmt: skip
