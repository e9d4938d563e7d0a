"""A branching sweep, and a launcher that trains it by writing records."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from suite.execution.execute import Backlog, execute
from suite.execution.messages import Event
from suite.records import Store
from suite.sweep import Plan, PlannedRun, RunSpec

TRUNK: dict[str, Any] = {
    "optimizers": {"adam": {"lr": 0.01, "beta": 0.9}, "sgd": {"lr": 0.3}},
    "schedule": "constant",
    "checkpoints": [0.25, 0.5],
}
SPEC: dict[str, Any] = {
    "question": "Does the best optimizer change on the way?",
    "source": "a test",
    "task": "fineweb/gpt",
    "overrides": {
        "data.source": "sample", "data.tokenizer": "byte", "data.seq_len": 16, "data.budget_steps": 24,
        "data.eval_samples": 4, "model.num_layers": 1, "model.num_heads": 1, "model.width": 8,
        "trainer.accelerator": "cpu", "trainer.precision": "32-true",
    },
    "batch_size": 4,
    "trunk": TRUNK,
    "branches": {"schedule": "linear"},
    "optimizers": {"sgd": {"lr": [0.03, 0.1, 0.3], "momentum": 0.9}, "adam": {"lr": [0.001, 0.01], "beta": 0.9}},
}  # fmt: skip


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**SPEC, **changes}, sort_keys=False))
    return path


def identify(run: RunSpec) -> tuple[str, int]:
    parts = repr(sorted(run.settings.items())), run.batch_size, run.seed, run.panel, run.initial
    return f"{abs(hash(parts)):016x}"[:16], 40 - (run.initial or ("", 0))[1]


class Pretend:
    """Trains by writing records: a parabola in log lr; keeps weights; optimizers in ``wild`` diverge as trunks."""

    def __init__(self, store: Store, wild: tuple[str, ...] = ()) -> None:
        self.store, self.wild = store, wild
        self.trained: list[PlannedRun] = []

    def run(self, jobs: Any, request: Any, on_event: Any) -> None:
        queue = list(jobs)
        while queue:
            job = queue.pop(0)
            on_event(job, Event("started"))
            queue += on_event(job, Event("done", [self._train(run) for run in job]))

    def _train(self, run: PlannedRun) -> str:
        assert run.initial is None or self.store.weights(*run.initial).exists()
        self.trained.append(run)
        diverged = bool(run.keeps) and run.optimizer in self.wild
        for step in () if diverged else run.keeps:
            self.store.write_weights(run.run_id, step, lambda path: path.write_text("weights"))
        loss = 1 + abs(math.log(run.settings["lr"] / 0.1))
        record = {
            "run_id": run.run_id, "status": "diverged" if diverged else "finished", "task": "fineweb/gpt",
            "optimizer": run.settings, "batch_size": run.batch_size, "seed": run.seed, "steps": run.steps,
            "final": {} if diverged else {"ema": loss}, "metrics": {}, "config": {},
            "diverged_at": 3 if diverged else None, "weights": self.store.sums_of_weights(run.run_id, run.keeps),
        }  # fmt: skip
        self.store.write_record(record, pa.table({"step": [0], "train_loss": [loss]}))
        return str(record["status"])


def done(plan: Plan, store: Store, launcher: Pretend) -> list[str]:
    return execute(Backlog(plan, store), launcher, lambda job: None)  # type: ignore[arg-type, return-value]
