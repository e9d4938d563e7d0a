"""A run that is killed outright goes on from its checkpoint and ends with the same losses, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from small_runs import ARGUMENTS

from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]


def fit(store: Path, data: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "suite", "fit", *ARGUMENTS, "--optimizer", "adam", "--optimizer.lr", "1e-2",
        "--data.batch_size", "2", "--data.budget_steps", "600", "--data.eval_every_steps", "200",
        "--data.data_dir", str(data), "--store", str(store), *more,
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
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
