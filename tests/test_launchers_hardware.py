"""Sharded training gives the losses of one process; every hardware file is read by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_runs import ARGUMENTS

from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]


def test_every_hardware_file_is_read() -> None:
    from suite.cli.lightning import Resolver

    resolver = Resolver()
    for path in sorted((ROOT / "configs" / "hardware").glob("*.yaml")):
        layers = ["--config", str(ROOT / "configs" / "tasks" / "fineweb" / "gpt.yaml"), "--config", str(path)]
        got = resolver.resolve(layers)["trainer"]
        given = yaml.safe_load(path.read_text())["trainer"]
        assert got["devices"] == given["devices"] and got["precision"] == given["precision"]


@pytest.mark.slow
def test_sharded_over_two_processes_equals_one(tmp_path: Path) -> None:
    given = yaml.safe_load((ROOT / "configs" / "hardware" / "a100x8_fsdp.yaml").read_text())["trainer"]
    layer = tmp_path / "sharded.yaml"
    layer.write_text(yaml.safe_dump({"trainer": {"devices": 2, "strategy": given["strategy"]}}))
    stores = []
    for name, cut in (("whole", []), ("sharded", ["--config", str(layer)])):
        command = [
            sys.executable, "-m", "suite", "fit", *ARGUMENTS, "--optimizer", "adam", "--optimizer.lr", "1e-2",
            "--optimizer.beta", "0.9", "--data.batch_size", "16", "--data.budget_steps", "12",
            "--data.data_dir", str(tmp_path / "data"), "--store", str(tmp_path / name), *cut,
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        stores.append(Store(tmp_path / name))
    (whole,), (sharded,) = (list(store.records()) for store in stores)
    assert sharded["run_id"] == whole["run_id"] and sharded["device"]["count"] == 2
    for column in ("train_loss", "grad_norm"):
        expected, got = (store.curves(whole["run_id"])[column].to_pylist() for store in stores)
        assert got == pytest.approx(expected, rel=2e-5)
    assert sharded["metrics"] == pytest.approx(whole["metrics"], rel=2e-5)
