"""Two processes that share each batch leave the run of one: curves, norms and metrics, with evaluations in mid-run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from two_processes import CASES

ROOT = Path(__file__).resolve().parents[1]
QUICK = {("fsdp", "gpt"), ("ddp", "grit")}


def both(strategy: str, name: str, folder: Path, *extra: str) -> tuple[dict[str, Any], dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "two_processes.py"), strategy, name, str(folder), *extra],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    made = json.loads(done.stdout.strip().splitlines()[-1])
    return made["one"], made["two"]


def assert_same(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert two["run_id"] == one["run_id"] and two["status"] == one["status"] == "finished"
    assert two["device"]["count"] == 2
    columns = one["curves"]
    evaluated = [step for step, value in enumerate(columns["val/loss"]) if value is not None]
    assert evaluated == [4, 9], "there must be an evaluation in mid-run"
    assert set(two["curves"]) == set(columns)
    for name, values in columns.items():
        measured = [value for value in values if value is not None]
        got = [two["curves"][name][step] for step, value in enumerate(values) if value is not None]
        # Both are sums of the same terms in another order; what ten steps make of the difference stays below this.
        assert got == pytest.approx(measured, rel=1e-4, abs=1e-7), name
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-4)


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        pytest.param(strategy, name, marks=[] if (strategy, name) in QUICK else pytest.mark.slow)
        for strategy in ("ddp", "fsdp")
        for name in CASES
    ],
)
def test_two_processes_leave_the_run_of_one(strategy: str, name: str, tmp_path: Path) -> None:
    assert_same(*both(strategy, name, tmp_path))
