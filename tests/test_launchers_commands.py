"""Launchers' settings, exported commands, a worker that is asked to stop, data that changed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from suite.cli.main import main
from suite.execution.launching import launcher_of, split_launcher_options
from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom. "


def write_sweep(folder: Path, **changes: object) -> Path:
    spec = {
        "question": "Does it work?",
        "task": "fineweb/gpt",
        "overrides": {
            "data.source": str(folder / "text"), "data.data_dir": str(folder / "data"), "data.tokenizer": "byte",
            "data.seq_len": 16, "data.budget_steps": 2000, "data.eval_samples": 4, "model.num_layers": 1,
            "model.num_heads": 1, "model.width": 8, "trainer.accelerator": "cpu", "trainer.precision": "32-true",
        },
        "batch_size": [1],
        "optimizers": {"sgd": {"lr": [0.03, 0.1], "momentum": 0.9}},
        **changes,
    }  # fmt: skip
    write_text(folder, TEXT)
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def write_text(folder: Path, text: str) -> None:
    (folder / "text").mkdir(exist_ok=True)
    lines = (json.dumps({"text": f"{number} {text * 20}"}) for number in range(40))
    (folder / "text" / "part.jsonl").write_text("\n".join(lines))


# Settings.


def test_settings_come_from_a_file_and_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("cpus: 4\nmemory_gb: 8\n")
    words = [
        "s.yaml",
        "--launcher",
        "ray",
        "--launcher.config",
        str(file),
        "--launcher.cpus=2",
        "--launcher.gpus",
        ".5",
    ]
    left, given = split_launcher_options(words)
    assert left == ["s.yaml", "--launcher", "ray"] and given == {"cpus": 2, "memory_gb": 8, "gpus": 0.5}


@pytest.mark.parametrize(
    ("name", "given", "part"),
    [
        ("local", {"workers_per_gpus": 2}, "did you mean 'workers_per_gpu'"),
        ("local", {"workers_per_gpu": "two"}, "must be a whole number, got 'two'"),
        ("local", {"workers_per_gpu": True}, "must be a whole number, got True"),
        ("local", {"workers_per_gpu": 0}, "at least 1"),
        ("slurm", {"setup": "module load cuda"}, "must be a list"),
        ("slurm", {"partition": 1}, "must be a text"),
        ("slurm", {"time_minutes": 0}, "at least 1"),
        ("ray", {"memory_gb": "all"}, "must be a number"),
    ],
)
def test_every_wrong_setting_is_one_sentence(tmp_path: Path, name: str, given: dict, part: str) -> None:
    with pytest.raises(ValueError) as caught:
        launcher_of(name, given, workers=1, store=Store(tmp_path), plan_id="p")
    assert part in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--launcher.cpus"], "needs a value"),
        (["--launcher.cpus", "[1"], "is not YAML"),
        (["--launcher.config", "nowhere.yaml"], "There is no file --launcher.config nowhere.yaml"),
    ],
)
def test_every_wrong_option_is_one_sentence(words: list[str], part: str) -> None:
    with pytest.raises(ValueError) as caught:
        split_launcher_options(words)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_every_cluster_file_has_the_settings_of_its_launcher() -> None:
    from suite.execution.launchers.ray import RaySettings
    from suite.execution.launchers.slurm import SlurmSettings
    from suite.fields import read

    files = sorted((ROOT / "configs" / "clusters").glob("*.yaml"))
    assert files
    for file in files:
        _, given = split_launcher_options(["--launcher.config", str(file)])
        read(SlurmSettings if file.stem.startswith("slurm") else RaySettings, given, name="--launcher")


# Exported commands, signals, changed data.


def begin(line: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["bash", "-c", f"exec bash -c {shlex.quote(line.replace('&& ', '&& exec ', 1))}"],
        cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_exported_commands_stop_and_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, store = write_sweep(tmp_path), Store(tmp_path / "runs")
    options = [str(file), "--store", str(store.path), "--pack", "off", "--export-commands", str(tmp_path / "commands")]
    assert main(["sweep", *options]) == 0
    lines = (tmp_path / "commands").read_text().splitlines()
    assert len(lines) == 2 and "2 commands" in capfd.readouterr().out
    process = begin(lines[0])
    while process.poll() is None and not list(store.path.glob("runs/*/*/lease.json")):
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    (record,) = store.records()
    assert record["status"] == "interrupted" and 0 < record["steps_done"] < 2000
    assert list(store.path.glob("runs/*/*/checkpoint.ckpt"))
    assert begin(lines[0]).wait(100) == 0
    (record,) = store.records()
    assert record["status"] == "finished" and record["steps_done"] == 2000
    curves = store.curves(record["run_id"])
    assert curves.num_rows == 2000 and not list(store.path.glob("runs/*/*/checkpoint.ckpt"))
    assert main(["sweep", *options]) == 0
    assert len((tmp_path / "commands").read_text().splitlines()) == 1
    assert main(["status", str(file), "--store", str(store.path)]) == 0
    assert "1 of 2 runs have a result" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("number", "pack"), [(signal.SIGTERM, "off"), pytest.param(signal.SIGINT, "2", marks=pytest.mark.slow)]
)
def test_a_sweep_that_is_ended_has_its_workers_save(number: signal.Signals, pack: str, tmp_path: Path) -> None:
    file, store = write_sweep(tmp_path), Store(tmp_path / "runs")

    def sweep() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "suite", "sweep", str(file), "--store", str(store.path)]
        return subprocess.Popen(
            [*command, "--pack", pack, "--workers", "2", "--compile", "off"], cwd=ROOT, text=True,
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    process = sweep()
    while process.poll() is None and len(list(store.path.glob("runs/*/*/lease.json"))) < 2:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, words = process.communicate(timeout=200)
    assert process.returncode == 128 + number and "Traceback" not in words
    assert words.splitlines()[-1].startswith(f"suite: Ended by {number.name}; the same command goes on")
    records = list(store.records())
    assert [record["status"] for record in records] == ["interrupted"] * 2
    assert all(0 < record["steps_done"] < 2000 for record in records)
    assert len(list(store.path.rglob("checkpoint.ckpt"))) == (2 if pack == "off" else 1)
    assert not list(store.path.rglob("lease.json"))
    assert sweep().wait(400) == 0
    assert [(r["status"], r["steps_done"]) for r in store.records()] == [("finished", 2000)] * 2
    assert not list(store.path.rglob("checkpoint.ckpt"))


def test_data_that_changed_is_refused_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, store = write_sweep(tmp_path), Store(tmp_path / "runs")
    options = [str(file), "--store", str(store.path), "--pack", "off", "--export-commands", str(tmp_path / "commands")]
    assert main(["sweep", *options]) == 0
    (plan,) = store.plans()
    ((_, then),) = plan["fingerprints"].items()
    write_text(tmp_path, TEXT.upper())
    assert main(["sweep", *options]) == 2
    said = capfd.readouterr().err
    assert f"made with data {then}, now there is data" in said and said.count("\n") == 1
    from suite.execution.messages import WorkRequest
    from suite.execution.worker import Worker

    text = next(iter((store.path / "sweeps").rglob("requests/*.json"))).read_text()
    event = Worker().answer(WorkRequest.from_json(text))
    assert event.statuses == ["failed"] and f"planned with data {then}, this worker finds data" in event.error
    assert not list(store.records())
