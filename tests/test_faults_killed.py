"""Sweeps that are shot at, and sweeps that share a store: every run ends once, with the right result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pretend_worker import history

from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "drills"))

from kill import drill, pretended_sweep, real_sweep, table  # noqa: E402


def test_three_moments(tmp_path: Path) -> None:
    outcome = drill(pretended_sweep, tmp_path, moments=3, seed=1)
    assert sum(outcome.kills.values()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_fifty_moments_of_pretended_sweeps(tmp_path: Path, seed: int) -> None:
    outcome = drill(pretended_sweep, tmp_path, moments=50, seed=seed)
    assert set(outcome.kills) == {"worker", "sweep", "both"}
    assert len(set(outcome.settled_at_kill)) > 5  # moments early and late


@pytest.mark.slow
def test_fifty_moments_of_real_sweeps(tmp_path: Path) -> None:
    outcome = drill(real_sweep(tmp_path), tmp_path, moments=50, seed=4)
    assert set(outcome.kills) == {"worker", "sweep", "both"}


def begin(store: Path, machine: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "tests" / "drills" / "pretend_sweep.py"), str(store), "10"]
    environment = {**os.environ, "PRETEND_MACHINE": machine, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment)


@pytest.mark.parametrize("machines", [pytest.param(("one", "one"), marks=pytest.mark.slow), ("one", "two")])
def test_two_sweeps_at_once_train_every_run_once(tmp_path: Path, machines: tuple[str, str]) -> None:
    sweeps = [begin(tmp_path, machine) for machine in machines]
    assert [sweep.wait(100) for sweep in sweeps] == [0, 0]
    events = Counter((event, run_id) for event, run_id, _ in history(tmp_path))
    assert len(table(tmp_path)) == 10 and not Store(tmp_path).problems
    assert set(events.values()) == {1} and sum(events.values()) == 20  # each begun once and ended once
