"""`validate`, `test` and `predict` look at a run's network by the settings and weights that the run left."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_runs import ARGUMENTS, make_data, make_task

from suite.cli.main import main
from suite.records import Store

FIT = [*ARGUMENTS, "--data.batch_size", "4", "--data.budget_steps", "6", "--keep_checkpoint"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of two runs that have kept their weights, the second of an optimizer without a schedule."""
    folder = tmp_path_factory.mktemp("trained")
    where = ["--data.data_dir", str(folder / "data"), "--store", str(folder / "runs")]
    for name, seed in (("sgd", "1"), ("schedule_free_sgd", "2")):
        words = ["--optimizer", name, "--optimizer.lr", "0.3", "--seed_everything", seed]
        assert main(["fit", *FIT, *where, *words]) == 0
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(list(words)) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def loss_in(table: str) -> float:
    (loss,) = re.findall(r"val/loss\W+([\d.]+)", table)
    return float(loss)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_gives_the_loss_of_its_record(trained: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(trained / "runs")
    (record,) = [record for record in store.records() if record["seed"] == seed]
    expected, where = pytest.approx(record["metrics"]["val/loss"], rel=1e-6), ("--store", str(store.path))
    assert loss_in(said(capsys, "validate", record["run_id"][:8], *where)) == expected
    file = store.run_folder(record["run_id"]) / "final.ckpt"
    assert loss_in(said(capsys, "test", "--ckpt_path", str(file))) == expected
    assert loss_in(said(capsys, "validate", "--run", record["run_id"], *where, "--data.eval_samples", "2")) != expected


def test_predictions_are_those_of_the_network(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(trained / "runs")
    (record,) = [record for record in store.records() if record["seed"] == 1]
    out = said(capsys, "predict", record["run_id"], "--store", str(store.path))
    assert f"{record['run_id']}.predictions.parquet (16 samples; columns sample, prediction, target)" in out
    table = pq.read_table(f"{record['run_id']}.predictions.parquet")
    data, task = make_data(trained / "data"), make_task()
    data.ensure_open()
    task.build_network(data.facts())
    task.load_state_dict(torch.load(store.run_folder(record["run_id"]) / "final.ckpt", weights_only=True)["state_dict"])
    batch = data.gather("val", np.arange(16))
    assert table["sample"].to_pylist() == list(range(16))
    assert table["target"].to_pylist() == batch[:, 1:].tolist()
    with torch.no_grad():
        assert table["prediction"].to_pylist() == task.predict_step(batch, 0).tolist()


def test_a_run_that_was_interrupted_is_looked_at_by_its_checkpoint(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    store = Store(tmp_path / "runs")
    run_id, other = (record["run_id"] for record in store.records())
    folder = store.run_folder(run_id)
    (folder / "final.ckpt").rename(folder / "checkpoint.ckpt")
    assert "val/loss" in said(capsys, "validate", run_id)
    (store.run_folder(other) / "final.ckpt").unlink()
    assert "fit keeps them with --keep_checkpoint" in said(capsys, "validate", other, code=2)


def test_what_a_record_alone_names_is_not_imported(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    store = Store(tmp_path / "runs")
    run_id = next(store.records())["run_id"]
    path = store.run_folder(run_id) / "record.json"
    record = json.loads(path.read_text().replace("tasks.fineweb.gpt.FineWebGPT", "evil_module.Evil"))
    path.write_text(json.dumps({**record, "identity": {}}))
    Path("evil_module.py").write_text("open('trace', 'w').close()")
    for words in (["validate", run_id], ["predict", "--ckpt_path", str(path.with_name("final.ckpt"))]):
        assert "evil_module.Evil" in said(capsys, *words, code=2)
    assert not Path("trace").exists() and not list(tmp_path.glob("*.parquet"))


def test_wrong_requests(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--store", str(trained / "runs"))
    run_id = next(Store(trained / "runs").records())["run_id"]
    assert "No run in" in said(capsys, "predict", "ffffffff", *where, code=2)
    assert "validate needs a RUN of the store" in said(capsys, "validate", code=2)
    assert "There is no checkpoint none.ckpt" in said(capsys, "validate", "--ckpt_path", "none.ckpt", code=2)
    assert "--out is a file for predictions" in said(capsys, "validate", run_id, *where, "--out", "x", code=2)
    assert "another network" in said(capsys, "validate", run_id, *where, "--model.width", "8", code=2)
    assert "cannot be written" in said(capsys, "predict", run_id, *where, "--out", "/dev/null/x", code=2)
