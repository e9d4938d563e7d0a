"""A search on the command line, with real runs."""

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
    done = subprocess.run(
        [sys.executable, "-m", "suite", *words, "--store", "runs"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def test_a_search_until_there_is_a_verdict_and_then_the_grid_in_one_store(tmp_path: Path) -> None:
    search = {**SPEC, "search": {"most": 12}, "until": {"precision": 5, "most_runs": 60}}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(search))
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(SPEC))
    assert "at most after 24 runs" in suite(tmp_path, "sweep", "search.yaml", "--dry-run", "--workers", "1")
    suite(tmp_path, "sweep", "search.yaml", "--workers", "1")
    (plan,) = Store(tmp_path / "runs").plans()
    chose = {run["run_id"] for run in plan["runs"] if not run["reporting"]}
    report = [run for run in plan["runs"] if run["reporting"]]
    assert len(chose) <= 24
    assert {run["seed"] for run in report} >= {43, 44, 45}
    assert suite(tmp_path, "status", "search.yaml").count("over") == 2
    said = suite(tmp_path, "gap", "search.yaml")
    assert f"{len(chose)} runs chose" in said and "98.75% confidence" in said
    assert "0 to train" in suite(tmp_path, "sweep", "search.yaml", "--workers", "1")
    suite(tmp_path, "sweep", "grid.yaml", "--workers", "1")
    store = Store(tmp_path / "runs")
    (grid,) = (plan for plan in store.plans() if plan["name"] == "grid")
    assert chose & {run["run_id"] for run in grid["runs"]}
    assert len(list(store.records())) == len(chose | {run["run_id"] for run in [*grid["runs"], *report]})
