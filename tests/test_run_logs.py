"""Logs for other programs hold what the record's curves hold, by optimizer step, one per run, packs included."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import yaml
from wandb_files import read_run

from suite.cli.main import main
from suite.records import Store
from suite.training import run_logs

FIT = [
    "fit", "--task", "toy/quadratic", "--data.budget_steps", "25", "--data.eval_samples", "4",
    "--data.eval_every_steps", "10", "--data.batch_size", "2", "--optimizer", "adam", "--optimizer.lr", "0.01",
]  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def expected(store: Store, run_id: str) -> dict[int, dict[str, float]]:
    """Step -> the values of a run's curves, under the names that logs have for them."""
    rows = {}
    for row in store.curves(run_id).to_pylist():
        values = {f"train/{name}": row[of] for name, of in (("loss", "train_loss"), ("lr", "lr"), ("grad_norm",) * 2)}
        evaluated = {name: value for name, value in row.items() if name.startswith("val/") and value is not None}
        rows[row["step"]] = values | evaluated
    return rows


def of_csv(folder: Path) -> dict[int, dict[str, float]]:
    rows = csv.DictReader((folder / "metrics.csv").open())
    return {int(row.pop("step")): {name: float(value) for name, value in row.items() if value} for row in rows}


def of_tensorboard(folder: Path) -> dict[int, dict[str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    rows: dict[int, dict[str, float]] = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            rows.setdefault(event.step, {})[name] = event.value
    return rows


def of_wandb(folder: Path) -> dict[int, dict[str, float]]:
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    _, rows = read_run(file)
    return {
        int(row["step"]): {name: value for name, value in row.items() if name.startswith(("train/", "val/"))}
        for row in rows
    }


READERS = {"csv": of_csv, "tensorboard": of_tensorboard, "wandb": of_wandb}


def same(got: dict[int, dict[str, float]], wanted: dict[int, dict[str, float]]) -> None:
    assert got.keys() == wanted.keys()
    for step, values in wanted.items():
        assert got[step] == pytest.approx(values, rel=1e-6), step  # TensorBoard keeps single precision


@pytest.mark.parametrize("kind", READERS)
def test_a_log_says_what_the_record_says(kind: str) -> None:
    assert main([*FIT, "--logger", kind]) == 0
    (record,) = Store("runs").records()
    (folder,) = Path("runs/logs", kind).iterdir()
    assert record["run_id"][:8] in folder.name
    wanted = expected(Store("runs"), record["run_id"])
    assert len(wanted) == 25 and [step for step, row in wanted.items() if "val/loss" in row] == [9, 19, 24]
    same(READERS[kind](folder), wanted)
    if kind == "csv":
        settings = dict(csv.reader((folder / "settings.csv").open()))
        assert settings["run_id"] == record["run_id"] and settings["optimizer.lr"] == "0.01"
    if kind == "wandb":
        settings, _ = read_run(next(folder.glob("wandb/offline-run-*/*.wandb")))
        assert settings["id"] == record["run_id"] and settings["optimizer.lr"] == 0.01


def test_every_run_of_a_pack_has_a_log_of_its_own() -> None:
    sweep = {
        "question": "?", "task": "toy/quadratic", "batch_size": [2], "seeds": [1, 2],
        "overrides": {"data.budget_steps": 250, "data.eval_samples": 4, "data.eval_every_steps": 100},
        "optimizers": {"sgd": {"lr": [0.00001, 1.0e9]}},
    }  # fmt: skip
    Path("s.yaml").write_text(yaml.safe_dump(sweep))
    assert main(["sweep", "s.yaml", "--workers", "1", "--pack", "4", "--logger", "csv, TensorBoard"]) == 0
    store = Store("runs")
    records = list(store.records())
    assert sorted(record["status"] for record in records) == ["diverged", "diverged", "finished", "finished"]
    assert all(record["pack"]["runs"] == 4 for record in records)
    for kind in ("csv", "tensorboard"):
        by_id = {folder.name[-8:]: folder for folder in Path("runs/logs", kind).iterdir()}
        assert by_id.keys() == {record["run_id"][:8] for record in records}
    for record in records:
        got, wanted = of_csv(Path("runs/logs/csv", by_id[record["run_id"][:8]].name)), expected(store, record["run_id"])
        assert got.keys() == wanted.keys()
        assert all(math.isclose(got[s]["train/loss"], row["train/loss"]) for s, row in wanted.items() if s < 2)
        assert max(wanted) == (249 if record["status"] == "finished" else record["diverged_at"])


def test_long_runs_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_logs, "MOST_POINTS", 5)
    assert main([*FIT, "--logger", "csv"]) == 0
    (folder,) = Path("runs/logs/csv").iterdir()
    assert list(of_csv(folder)) == [0, 5, 9, 10, 15, 19, 20, 24]


def test_a_log_that_cannot_be_written_ends_no_training(caplog: pytest.LogCaptureFixture) -> None:
    Path("elsewhere").mkdir()
    Path("runs").mkdir()
    Path("runs/logs").symlink_to(Path("elsewhere").absolute())
    assert main([*FIT, "--logger", "csv"]) == 0
    (record,) = Store("runs").records()
    assert record["status"] == "finished" and not list(Path("elsewhere").iterdir())
    assert f"The log csv of run {record['run_id']} is not written any further" in caplog.text


def test_an_unknown_logger_is_refused_before_anything_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--logger", "tensorbord"]) == 2
    assert "no logger 'tensorbord' (did you mean 'tensorboard'?)" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_lightnings_own_loggers_get_optimizer_steps_and_settings() -> None:
    words = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs", "--trainer.log_every_n_steps", "10"]
    assert main([*FIT, *words]) == 0
    folder = Path("logs/lightning_logs/version_0")
    assert "optimizer.lr: 0.01" in (folder / "hparams.yaml").read_text()
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert {int(row["step"]) for row in rows if row["train/loss"]} == {0, 10, 20}
    assert {int(row["step"]) for row in rows if row["val/loss"]} == {9, 19, 24}
