"""A small search on the command line, for tests of what trains its runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]
SPEC: dict[str, Any] = {
    "question": "Does a search share the grid's runs?",
    "source": "a test",
    "task": "toy/quadratic",
    "overrides": {
        "data.source": "sample", "data.budget_steps": 20, "trainer.accelerator": "cpu", "trainer.precision": "32-true",
    },
    "batch_size": [4],
    "final_loss": "val",
    "optimizers": {
        "sgd": {"lr": {"decades": [-4, -2], "per_decade": 3}, "momentum": [0, 0.5, 0.9]},
        "adam": {"lr": {"decades": [-2, 0], "per_decade": 2}, "beta": [0.5, 0.9]},
    },
}  # fmt: skip


def suite(folder: Path, *words: str) -> str:
    """What a command says, with its store in a folder; every space is one."""
    done = subprocess.run(
        [sys.executable, "-m", "suite", *words, "--store", "runs"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def chosen_by(folder: Path, *words: str) -> set[str]:
    """The ids of the runs that a search of ten settings per optimizer trains; ``words`` name what trains them."""
    folder.mkdir()
    (folder / "search.yaml").write_text(yaml.safe_dump({**SPEC, "search": {"most": 10}}))
    suite(folder, "sweep", "search.yaml", *words)
    assert suite(folder, "status", "search.yaml").count("over") == 2
    store = Store(folder / "runs")
    (plan,) = store.plans()
    ids = {run["run_id"] for run in plan["runs"]}
    assert ids == {record["run_id"] for record in store.records()}
    return ids
