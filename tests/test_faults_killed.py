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

from kill import PRETENDED_FREEZE_SECONDS, SIGNALS, TARGETS, Drill, pretended_sweep, real_sweep, table  # noqa: E402


def test_six_moments(tmp_path: Path) -> None:
    outcome = Drill(pretended_sweep, tmp_path, seed=1, freeze_seconds=PRETENDED_FREEZE_SECONDS).run(6)
    assert sum(outcome.moments.values()) == 6 and {name for name, _ in outcome.moments} == {n.name for n in SIGNALS}
    assert outcome.runs == 21  # of 8 learning rates and one past the edge, 2 seeds; 2 finalists and a reporting seed


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_fifty_moments_of_pretended_sweeps(tmp_path: Path, seed: int) -> None:
    outcome = Drill(pretended_sweep, tmp_path, seed=seed, freeze_seconds=PRETENDED_FREEZE_SECONDS).run(50)
    assert {target for _, target in outcome.moments} == set(TARGETS)
    assert len(set(outcome.settled_at_moment)) > 5  # moments early and late


@pytest.mark.slow
def test_fifty_moments_of_real_sweeps(tmp_path: Path) -> None:
    outcome = Drill(real_sweep(tmp_path, pack="3"), tmp_path, seed=4).run(50)
    assert {target for _, target in outcome.moments} == set(TARGETS) and outcome.runs > 24


def begin(store: Path, machine: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "tests" / "drills" / "pretend_sweep.py"), str(store), "2"]
    environment = {**os.environ, "PRETEND_MACHINE": machine, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment)


@pytest.mark.parametrize("machines", [pytest.param(("one", "one"), marks=pytest.mark.slow), ("one", "two")])
def test_two_sweeps_at_once_train_every_run_once(tmp_path: Path, machines: tuple[str, str]) -> None:
    sweeps = [begin(tmp_path, machine) for machine in machines]
    assert [sweep.wait(100) for sweep in sweeps] == [0, 0]
    events = Counter((event, run_id) for event, run_id, _ in history(tmp_path))
    assert len(table(tmp_path)) == 9 and not Store(tmp_path).problems
    assert set(events.values()) == {1} and sum(events.values()) == 18  # each begun once and ended once
