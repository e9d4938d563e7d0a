"""`batch_size` is global: devices and accumulation cut it, losses and diagnostics stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ARGUMENTS

from suite.records import Store

pytestmark = pytest.mark.slow  # quick ones: test_batches, test_memory_shortage and test_two_processes
ROOT = Path(__file__).resolve().parents[1]
DIAGNOSTICS = (
    "{clipping: {every: 4}, updates: {every: 4}, agreement: {every: 4, window: 2}, sharpness: {times: 1}, "
    "frequency: {times: 1, samples: 16}, noise: {times: 1, gradients: 32}}"
)
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
            "--diagnostics", DIAGNOSTICS, "--data.data_dir", str(folder / "data"), "--store", str(folder / name), *cut,
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


@pytest.mark.parametrize("name", [name for name in CUTS if name != "one process"])
def test_every_cut_of_the_batch_measures_the_same(stores: dict[str, Store], name: str) -> None:
    (whole,) = stores["one process"].records()
    expected = stores["one process"].diagnostics(whole["run_id"])
    got = stores[name].diagnostics(whole["run_id"])
    assert set(expected["diagnostic"].to_pylist()) == {
        "clipping", "updates", "agreement", "sharpness", "frequency", "noise",
    }  # fmt: skip
    for column in ("step", "diagnostic", "quantity", "group"):
        assert got[column].to_pylist() == expected[column].to_pylist()
    assert got["value"].to_pylist() == pytest.approx(expected["value"].to_pylist(), rel=1e-3, abs=1e-6, nan_ok=True)
