"""`batch_size` is global: devices and accumulation cut it, the losses stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ARGUMENTS

from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]
CUTS = {
    "one process": [],
    "two processes": ["--trainer.devices", "2", "--trainer.strategy", "ddp"],
    "accumulation 4": ["--data.micro_batch", "16"],
    "two processes, accumulation 2": [
        "--trainer.devices",
        "2",
        "--trainer.strategy",
        "ddp",
        "--data.micro_batch",
        "16",
    ],
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("cuts")
    made = {}
    for name, cut in CUTS.items():
        command = [
            sys.executable, "-m", "suite", "fit", *ARGUMENTS, "--optimizer", "adam", "--optimizer.lr", "1e-2",
            "--optimizer.beta", "0.9", "--data.batch_size", "64", "--data.budget_steps", "12",
            "--data.data_dir", str(folder / "data"), "--store", str(folder / name), *cut,
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        made[name] = Store(folder / name)
    return made


@pytest.mark.parametrize("name", [name for name in CUTS if name != "one process"])
def test_every_cut_of_the_batch_gives_the_same_run(stores: dict[str, Store], name: str) -> None:
    (whole,), (cut,) = (list(stores[key].records()) for key in ("one process", name))
    assert cut["run_id"] == whole["run_id"] and cut["status"] == whole["status"] == "finished"
    expected = stores["one process"].curves(whole["run_id"])
    got = stores[name].curves(cut["run_id"])
    for column in ("train_loss", "grad_norm"):
        assert got[column].to_pylist() == pytest.approx(expected[column].to_pylist(), rel=2e-5)
    assert cut["metrics"] == pytest.approx(whole["metrics"], rel=2e-5)
    assert cut["device"]["count"] == (2 if "processes" in name else 1)
