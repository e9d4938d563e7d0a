"""Sharded training gives the losses of one process; every hardware file is read by the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_runs import ARGUMENTS

from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]


def test_every_hardware_file_is_read() -> None:
    from suite.execution.resolver import Resolver

    resolver = Resolver()
    for path in sorted((ROOT / "configs" / "hardware").glob("*.yaml")):
        layers = ["--config", str(ROOT / "configs" / "tasks" / "fineweb" / "gpt.yaml"), "--config", str(path)]
        got = resolver.resolve(layers)["trainer"]
        given = yaml.safe_load(path.read_text())["trainer"]
        assert got["devices"] == given["devices"] and got["precision"] == given["precision"]


def sharded_layer(folder: Path) -> Path:
    """The A100s' strategy on two processes."""
    given = yaml.safe_load((ROOT / "configs" / "hardware" / "a100x8_fsdp.yaml").read_text())["trainer"]
    layer = folder / "sharded.yaml"
    layer.write_text(yaml.safe_dump({"trainer": {"devices": 2, "strategy": given["strategy"]}}))
    return layer


def fit(folder: Path, store: str, *more: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "suite", "fit", *ARGUMENTS, "--optimizer", "adam", "--optimizer.lr", "1e-2",
        "--optimizer.beta", "0.9", "--data.batch_size", "16", "--data.budget_steps", "12", "--data.block_steps", "2",
        "--data.data_dir", str(folder / "data"), "--store", str(folder / store), *more,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment, start_new_session=True)


@pytest.mark.slow
def test_sharded_over_two_processes_equals_one(tmp_path: Path) -> None:
    layer = str(sharded_layer(tmp_path))
    assert fit(tmp_path, "whole").wait() == 0 and fit(tmp_path, "sharded", "--config", layer).wait() == 0
    killed = Store(tmp_path / "killed")
    process = fit(tmp_path, "killed", "--config", layer, "--checkpoint_seconds", "0")
    while process.poll() is None and not list(killed.path.glob("runs/*/*/checkpoint.ckpt")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() != 0 and not list(killed.records())
    (checkpoint,) = killed.path.glob("runs/*/*/checkpoint.ckpt")
    assert checkpoint.is_file()  # one file, whatever the number of devices
    assert fit(tmp_path, "killed", "--config", layer).wait() == 0
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["curves.parquet", "record.json"]
    whole, *others = [Store(tmp_path / name) for name in ("whole", "sharded", "killed")]
    (record,) = whole.records()
    for store in others:
        (sharded,) = store.records()
        assert sharded["run_id"] == record["run_id"] and sharded["device"]["count"] == 2
        for column in ("train_loss", "grad_norm"):
            expected, got = (side.curves(record["run_id"])[column].to_pylist() for side in (whole, store))
            assert got == pytest.approx(expected, rel=2e-5)
        assert sharded["metrics"] == pytest.approx(record["metrics"], rel=2e-5)
