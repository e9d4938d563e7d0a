"""Runs by name: listed, shown, repeated, dropped; a sweep is stopped and watched from another terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_runs import ARGUMENTS
from synthetic_records import Planted, write_store

from suite.cli.main import main
from suite.records import Store
from suite.records.lease import Lease

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_store(tmp_path / "runs", Planted(batch_sizes=(1, 16), steps=60))[0]


def interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_runs_are_listed_filtered_and_sorted(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--store", str(store.path))
    records = list(store.records())
    best = min((r for r in records if r["status"] == "finished"), key=lambda r: r["final"]["ema"])
    listed = said(capsys, "runs", *where)
    assert listed.splitlines()[2].startswith(best["run_id"]) and f"{len(records)} runs" not in listed.splitlines()[2]
    assert "final loss (ema): the last value of the exponential moving average" in " ".join(listed.split())
    diverged = said(capsys, "runs", *where, "--status", "diverged", "--optimizer", "adam", "--most", "0")
    expected = [r["run_id"] for r in records if r["status"] == "diverged" and r["optimizer"]["name"] == "adam"]
    assert sorted(re.findall("^[0-9a-f]{16}", diverged, re.MULTILINE)) == sorted(expected) and expected
    one = said(capsys, "runs", *where, "--batch-size", "16", "--seed", "42", "--sort", "run_id", "--most", "3")
    ids = re.findall("^[0-9a-f]{16}", one, re.MULTILINE)
    assert ids == sorted(r["run_id"] for r in records if r["batch_size"] == 16)[:3]
    upper = said(capsys, "runs", *where, "--optimizer", "ADAM", "--task", records[0]["task"].upper(), "--most", "0")
    assert upper == said(capsys, "runs", *where, "--optimizer", "adam", "--most", "0") and "0 runs" not in upper
    assert "there are: synthetic/parabola." in said(capsys, "runs", *where, "--task", "none/such", code=2)
    assert "there are: Adam, SGD." in said(capsys, "runs", *where, "--optimizer", "heavy", code=2)
    assert "at least 0, got -1" in said(capsys, "runs", *where, "--most", "-1", code=2)


def test_a_run_is_shown_with_its_curve(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--store", str(store.path))
    record = next(r for r in store.records() if r["status"] == "finished")
    shown = said(capsys, "show", record["run_id"][:6], *where)
    assert f"{record['final']['ema']:.6g}" in shown and "60 steps" in shown and shown.count("*") == 60
    rows = [line for line in shown.splitlines() if "*" in line]
    assert rows[0].index("*") < rows[-1].rindex("*")  # it falls
    assert yaml.safe_load(said(capsys, "show", record["run_id"], "--config", *where)) == record["config"]
    assert "No run in" in said(capsys, "show", "ffffffffffff", *where, code=2)
    ambiguous = next(c for c in "0123456789abcdef" if sum(r["run_id"][0] == c for r in store.records()) > 1)
    assert "give more of the id" in said(capsys, "show", ambiguous, *where, code=2)


def test_dropped_runs_come_back_or_go(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--store", str(store.path))
    first, second, third = [record["run_id"] for record in store.records()][:3]
    before = store.record(first)
    assert "trains it again" in said(capsys, "drop", first, second, *where)
    assert store.record(first) is None and not list(store.foreign_files())
    assert "In the bin: " + ", ".join(sorted([first, second])) in said(capsys, "drop", *where)
    assert f"{first} is back" in said(capsys, "drop", "--back", first[:8], *where)
    assert store.record(first) == before
    with store.lease(third):
        assert "is being trained" in said(capsys, "drop", third, *where, code=1)
    assert "Deleted 1 run." in said(capsys, "drop", "--empty", *where)
    assert "it holds nothing" in said(capsys, "drop", "--back", second, *where, code=2)
    assert "give it alone" in said(capsys, "drop", "--empty", first, *where, code=2)


def test_a_run_is_repeated_by_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*ARGUMENTS, "--optimizer", "sgd", "--optimizer.lr", "0.1", "--data.budget_steps", "3"]
    said(capsys, "fit", *words, "--data.batch_size", "2", "--data.data_dir", "data", "--store", "store")
    store = Store("store")
    (first,) = store.records()
    Path("run.yaml").write_text(said(capsys, "show", first["run_id"], "--config", "--store", "store"))
    path = store.run_folder(first["run_id"]) / "record.json"
    written = path.stat().st_mtime_ns
    assert "Already trained" in said(capsys, "fit", "--config", "run.yaml", "--store", "store")
    assert path.stat().st_mtime_ns == written
    assert "Trained: fineweb/gpt" in said(capsys, "rerun", first["run_id"][:6], "--store", "store")
    (again,) = store.records()
    assert again["final"] == first["final"] and path.stat().st_mtime_ns > written
    record = json.loads(path.read_text().replace("tasks.fineweb.gpt.FineWebGPT", "evil_module.Evil"))
    path.write_text(json.dumps({**record, "identity": {}}))
    Path("evil_module.py").write_text("open('trace', 'w').close()")
    assert "'evil_module.Evil', which neither the suite nor a file of yours does, and what only a store names" in said(
        capsys, "rerun", first["run_id"], "--store", "store", code=2
    )
    assert not Path("trace").exists()


def test_a_sweep_is_watched_and_stopped_from_another_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = {
        "question": "?", "source": "a test", "task": "toy/quadratic", "batch_size": [1], "seeds": [1],
        "overrides": {"data.budget_steps": 3_000_000, "data.eval_samples": 1},
        "optimizers": {"sgd": {"lr": [1e-6]}},
    }  # fmt: skip
    Path("s.yaml").write_text(yaml.safe_dump(sweep))
    words = ["sweep", "s.yaml", "--store", "runs", "--workers", "1", "--pack", "off"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "suite", *words], env=environment, stderr=subprocess.PIPE) as process:
        store = Store("runs")
        until = time.monotonic() + 240
        while not list(store.path.glob("runs/*/*/lease.json")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.2)
        with monkeypatch.context() as patched:
            patched.setattr(
                "suite.cli.commands.status.time.sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            watched = said(capsys, "status", "s.yaml", "--store", "runs", "--watch", "1", code=130)
        assert "0 of 1 runs have a result" in watched
        stopped = said(capsys, "stop", "s.yaml", "--store", "runs")
        assert "1 have no result yet, and the same sweep command goes on" in stopped
        assert process.wait(120) == 143
    (record,) = store.records()
    assert record["status"] == "interrupted" and list(store.path.glob("runs/*/*/*.ckpt"))
    assert "must be from" in said(capsys, "status", "s.yaml", "--store", "runs", "--watch", "0", code=2)
    with monkeypatch.context() as patched:
        patched.setattr(
            "suite.cli.commands.status.time.sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert "has not begun in other" in said(capsys, "status", "s.yaml", "--store", "other", "--watch", code=130)


def test_an_old_request_stops_no_new_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.execution import stop_request

    monkeypatch.setattr(stop_request, "LOOK_SECONDS", 0.02)
    store = Store(tmp_path)
    stop_request.ask_to_stop(store, "plan")
    with stop_request.stopped_by_request(store, "plan"):
        time.sleep(0.2)
    assert isinstance(store.lease("0" * 16), Lease)


def test_what_show_says_repeats_the_run_of_another_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["--optimizer", "sgd", "--optimizer.lr", "0.3", "--data.batch_size", "4", "--data.budget_steps", "4"]
    assert main(["fit", *ARGUMENTS, *settings, "--store", "some where"]) == 0
    (run_id,) = [record["run_id"] for record in Store("some where").records()]
    before = Store("some where").record(run_id)
    path = Store("some where").run_folder(run_id) / "record.json"
    path.write_text(path.read_text().replace(str(before and before["started"]), "2001-01-01T00:00:00+00:00"))
    capsys.readouterr()
    shown = said(capsys, "show", run_id, "--store", "some where")
    command = shown.rpartition("To repeat it")[2].partition("python -m suite ")[2]
    assert main(shlex.split(command)) == 0
    after = Store("some where").record(run_id)
    assert before and after and before["started"] <= after["started"] and before["final"] == after["final"]
    assert not Path("runs").exists()


def test_a_store_that_is_not_there_is_no_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["runs"], ["show", "3f"], ["rerun", "3f"], ["drop", "--empty"], ["archive", "--to", "a.parquet"]):
        assert "but there is none" in said(capsys, *command, "--store", str(tmp_path / "nope"), code=2)
    write_store(tmp_path / "runs", Planted(batch_sizes=(1,), steps=20))
    assert "one folder deeper" in said(capsys, "runs", "--store", str(tmp_path), code=2)
    assert "one folder deeper" in said(capsys, "restore", str(tmp_path), "--store", str(tmp_path / "b"), code=2)


def test_an_archive_replaces_archives_alone(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("archive", "--store", str(store.path), "--to")
    precious = tmp_path / "q.parquet"
    precious.write_text("mine")
    assert "no archive of runs" in said(capsys, *where, str(precious), code=2) and precious.read_text() == "mine"
    assert "ends in .parquet" in said(capsys, *where, str(tmp_path / "q.yaml"), code=2)
    assert "make" in said(capsys, *where, str(tmp_path / "new" / "a.parquet"), code=2)
    assert not (tmp_path / "new").exists()
    for _ in range(2):
        assert "runs of" in said(capsys, *where, str(tmp_path / "a.parquet"))
    points = (*where, str(tmp_path / "a.parquet"), "--points", "0")
    assert "--points: must be `all` or a whole number from 1" in said(capsys, *points, code=2)
