"""A search on the command line, with real runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from small_search import SPEC, suite

from suite.records import Store


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
    shutil.rmtree(tmp_path / "runs" / "sweeps")
    again = suite(tmp_path, "sweep", "search.yaml", "--workers", "1")
    first_look = len(chose) + 2 * 3
    assert f"search: {first_look} runs, {first_look} in the store, 0 to train." in again
    (restored,) = Store(tmp_path / "runs").plans()
    assert restored["runs"] == plan["runs"]
    suite(tmp_path, "sweep", "grid.yaml", "--workers", "1")
    store = Store(tmp_path / "runs")
    (grid,) = (plan for plan in store.plans() if plan["name"] == "grid")
    assert chose & {run["run_id"] for run in grid["runs"]}
    assert len(list(store.records())) == len(chose | {run["run_id"] for run in [*grid["runs"], *report]})
