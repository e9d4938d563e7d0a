"""A run that is killed outright goes on from its checkpoint and ends with the same losses, bit for bit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import ARGUMENTS

from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "drills"))

from stop_fit import SMALL, drill  # noqa: E402


def fit(store: Path, data: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "suite", "fit", *ARGUMENTS, "--optimizer", "adam", "--optimizer.lr", "1e-2",
        "--data.batch_size", "2", "--data.budget_steps", "600", "--data.eval_every_steps", "200",
        "--data.data_dir", str(data), "--store", str(store), *more,
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_killed_run_ends_bit_equal(tmp_path: Path) -> None:
    whole, killed, data = tmp_path / "whole", tmp_path / "killed", tmp_path / "data"
    assert fit(whole, data).wait() == 0
    (record,) = Store(whole).records()
    expected = Store(whole).curves(record["run_id"])
    checkpoint = Store(killed).run_folder(record["run_id"]) / "checkpoint.ckpt"
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = fit(killed, data, "--checkpoint_seconds", "0.2")
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert Store(killed).record(record["run_id"]) is None
    process = fit(killed, data)
    output, _ = process.communicate()
    assert process.returncode == 0 and "Trained" in output
    got = Store(killed).record(record["run_id"])
    assert got is not None and got["final"] == record["final"] and got["metrics"] == record["metrics"]
    assert Store(killed).curves(record["run_id"]).equals(expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_fit_says_where_it_goes_on_from(number: signal.Signals, tmp_path: Path) -> None:
    block = ["--data.block_steps", "100000", "--data.budget_steps", "100000"]
    process = fit(tmp_path, tmp_path / "data", *block)
    assert process.stderr is not None
    seen: list[str] = []
    progress = r"fit: step \d+ of 100000 \(\d+%\), loss \d\.\d{4}, [\d,]+ tokens/s, [\d:]+ to go$"
    while not seen or not re.match(progress, seen[-1]):
        seen.append(process.stderr.readline())
        assert seen[-1], seen
    assert re.search(
        r"^fit: \d+\.\d+k parameters, 100000 steps, on cpu; record and checkpoint: ", "".join(seen), re.MULTILINE
    )
    process.send_signal(number)
    output, words = process.communicate(timeout=30)
    assert process.returncode == 128 + number and output == ""
    (record,) = Store(tmp_path).records()
    checkpoint = Store(tmp_path).run_folder(record["run_id"]) / "checkpoint.ckpt"
    said = f"suite: Ended by {number.name} after {record['steps_done']} of 100000 steps; the same command goes on from"
    assert words.splitlines()[-1] == f"{said} the checkpoint, {checkpoint}." and checkpoint.exists()
    assert record["status"] == "interrupted" and 0 < record["steps_done"] < 100_000


def test_a_time_limit_has_a_code_and_a_sentence(tmp_path: Path) -> None:
    process = fit(tmp_path, tmp_path / "data", "--data.budget_steps", "100000", "--trainer.max_time", "00:00:00:01")
    _, words = process.communicate()
    assert process.returncode == 143
    assert words.splitlines()[-1].startswith("suite: Ended by trainer.max_time or a callback after ")
    assert len(list(tmp_path.rglob("checkpoint.ckpt"))) == 1


@pytest.mark.slow
def test_twenty_moments_of_a_fit(tmp_path: Path) -> None:
    outcome = drill(SMALL.split(), tmp_path, moments=20, seed=1)
    assert len(outcome.signals) == 4 and len(outcome.phases) == 3
