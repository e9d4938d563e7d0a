"""Files and names that somebody made to do harm can at most fail: no code of theirs runs, no name becomes markup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from small_runs import ARGUMENTS
from synthetic_records import Planted, write_store
from whole_store import renamed

from suite.cli.main import main
from suite.records import Store
from suite.sweep import Plan, read_spec

ROOT = Path(__file__).resolve().parents[1]
SGD = ["--optimizer", "sgd", "--optimizer.lr", "0.1", "--data.batch_size", "4", "--data.budget_steps", "4"]
TAGS = (
    "!!python/object/apply:os.system ['touch trace']",
    "!!python/object/new:os.system ['touch trace']",
    "!!python/name:os.system",
    "!!python/module:os",
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    output, errors = capsys.readouterr()
    said = [line for line in errors.splitlines() if line.startswith("suite: ")]
    assert code in (1, 2) and len(said) == 1 and "Traceback" not in errors + output
    assert not Path("trace").exists()
    return said[0]


# Code in files.


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_runs_nothing(tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sweep.yaml").write_text(f"task: toy/quadratic\nbatch_size: [1]\noptimizers:\n  sgd:\n    lr: {tag}\n")
    for command in ("sweep", "status", "gap", "report"):
        assert "sweep.yaml has a value with the tag" in refused([command, "sweep.yaml"], capsys)
    Path("layer.yaml").write_text(f"data:\n  init_args:\n    source: {tag}\n")
    assert "layer.yaml" in refused(["fit", *ARGUMENTS, *SGD, "--config", "layer.yaml"], capsys)
    Path("optimizer.yaml").write_text(f"name: sgd\nlr: {tag}\n")
    refused(["fit", *ARGUMENTS, "--optimizer", "optimizer.yaml"], capsys)
    Path("configs/tasks/mine").mkdir(parents=True)
    Path("configs/tasks/mine/x.yaml").write_text(f"model: {tag}\n")
    refused(["fit", "--task", "mine/x", *SGD], capsys)
    Path("cluster.yaml").write_text(f"workers_per_gpu: {tag}\n")
    Path("sweep.yaml").write_text("task: toy/quadratic\nbatch_size: [1]\noptimizers:\n  sgd: {lr: 0.1}\n")
    refused(["sweep", "sweep.yaml", "--launcher.config", "cluster.yaml"], capsys)


def test_csv_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    head = "data,lr,wd,bs,mom,opt,tr_loss_history\n"
    for cell in ("__import__('os').system('touch trace')", "[__import__('os').system('touch trace')]"):
        Path("r.csv").write_text(f'{head}d,0.1,0,4,0.9,sgd,"{cell}"\n')
        refused(["gap", "--csv", "r.csv"], capsys)
        Path("r.csv").write_text(f'{head}d,"{cell}",0,4,0.9,sgd,"[1.0]"\n')
        refused(["gap", "--csv", "r.csv"], capsys)


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch trace",)


def test_a_checkpoint_from_elsewhere_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {}, "x": Hostile()}, "hostile.ckpt")
    for command in ("validate", "test", "predict"):
        sentence = refused([command, *ARGUMENTS, *SGD, "--ckpt_path", "hostile.ckpt"], capsys)
        assert "hostile.ckpt cannot be read as weights" in sentence
    Path("evil.py").write_text("open('trace', 'w').close()\n")
    saved = {"state_dict": {"x": torch.zeros(1)}, "hyper_parameters": {"_class_path": "evil.Task"}}
    torch.save({**saved, "pytorch-lightning_version": "2.6.0"}, "other.ckpt")
    assert "another network" in refused(["validate", *ARGUMENTS, *SGD, "--ckpt_path", "other.ckpt"], capsys)
    assert refused(["validate", *ARGUMENTS, *SGD, "--ckpt_path", "none.ckpt"], capsys)


def test_what_reads_the_store_imports_no_class(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("open('trace', 'w').close()\n")
    task = {"model": {"class_path": "evil.Task"}, "data": {"class_path": "evil.Data"}}
    (tmp_path / "configs" / "tasks" / "evil").mkdir(parents=True)
    (tmp_path / "configs" / "tasks" / "evil" / "task.yaml").write_text(yaml.safe_dump(task))
    asked = {
        "question": "?", "task": "evil/task", "batch_size": [1, 4], "overrides": {"data.class_path": "evil.Data"},
        "optimizers": {"evil.Optimizer": {"lr": [0.1, 0.2]}, "adam": {"name": "evil.Adam", "lr": [0.1, 0.2]}},
    }  # fmt: skip
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(asked))
    store = Store(tmp_path / "runs")
    plan = Plan(read_spec(file), lambda run: (f"{abs(hash((str(run.settings), run.batch_size))):016x}"[:16], 3))
    store.write_plan(plan.as_record(command="", title="evil.Task"))
    for run in plan.runs:
        record = {
            "run_id": run.run_id, "status": "finished", "task": "evil/task", "optimizer": run.settings,
            "seed": run.seed, "batch_size": run.batch_size, "steps": 3, "final": {"ema": 1.0}, "metrics": {},
            "config": task,
        }  # fmt: skip
        store.write_record(record, pa.table({"step": [0, 1, 2], "train_loss": [3.0, 2.0, 1.0]}))
    code = (
        "import sys; from suite.cli.main import main\n"
        "codes = [main([command, 's.yaml', '--store', 'runs']) for command in ('status', 'gap', 'report')]\n"
        "print(codes, main(['report', '--store', 'runs']), [m for m in ('evil', 'torch') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[0, 0, 0] 0 []" and not (tmp_path / "trace").exists()
    assert "evil" in done.stdout


# Names in pages.

MARK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)></td></style></svg><!--"


class Tags(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    from suite.analysis.report import write_index

    other = f"sgd {MARK}"
    planted = Planted(
        batch_sizes=(1, 64), steps=60, question=f"{MARK}?", task=f"fineweb/{MARK}",
        lrs={other: (0.1, 0.3), "adam": (0.001, 0.003)}, momenta=(0.9,), best_lr={other: 0.3, "adam": 0.003},
        best_momentum={other: 0.9, "adam": 0.9}, momentum_name={other: MARK, "adam": "beta"},
    )  # fmt: skip
    store, plan = write_store(tmp_path / "runs", planted)
    names = ("command", "file", "name", "source", "task_title")
    plan |= dict.fromkeys(names, MARK) | {"overrides": {MARK: MARK}, "extend_axes": [MARK]}
    store.write_plan(plan)
    for number, run in enumerate(plan["runs"]):
        path = store.run_folder(run["run_id"]) / "record.json"
        record = json.loads(path.read_text())
        record |= {"host": MARK, "started": MARK, "ended": MARK, "device": {"kind": MARK, "name": MARK, "count": 1}}
        record |= {"code": {"version": MARK, "commit": MARK, "dirty": True}, "packages": {MARK: MARK}}
        record |= {"data": {"name": MARK, "fingerprint": MARK, "samples": 1}}
        if number == 0:
            record |= {"status": "failed", "error": MARK, "final": {}}
        path.write_text(json.dumps(record))
    (store.run_folder(plan["runs"][1]["run_id"]) / "record.json").write_text(json.dumps({"schema": MARK}))
    index, failed = write_index(store, tmp_path / "index")
    folder = index.parent / plan["plan_id"]
    assert not failed
    for page in (index, folder / "index.html"):
        text = page.read_text(encoding="utf-8")
        found = Tags(text)
        assert not found.tags & {"script", "iframe", "object"}
        assert not any(name.startswith("on") for name, _ in found.attributes)
        assert not any("javascript:" in value for _, value in found.attributes)
        assert all(value.startswith("data:") for name, value in found.attributes if name == "src")
        assert "&lt;script&gt;" in text and "<script" not in text and "<img src=x" not in text
    for drawing in (folder / "figures").glob("*.svg"):
        assert "<script" not in drawing.read_text(encoding="utf-8")


def test_no_name_reaches_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    escape = "\x1b[2J\x07"
    rows = "".join(f'd{escape},0.1,0,4,0.9,{name}{escape},"[2.0, 1.0]"\n' for name in ("sgd", "adam", "x"))
    Path("r.csv").write_text("data,lr,wd,bs,mom,opt,tr_loss_history\n" + rows)
    assert main(["gap", "--csv", "r.csv"]) == 0
    assert main(["compare", "r.csv", "r.csv"]) == 0
    file = Path("s.yaml")
    asked = {"task": "toy/quadratic", "batch_size": [1], "optimizers": {"renamed": {"name": "sgd", "lr": [0.1]}}}
    file.write_text(yaml.safe_dump(asked))
    plan = Plan(read_spec(file), lambda *_: ("0" * 16, 3))
    Store("runs").write_plan(renamed(plan.as_record(command="", title=""), "renamed", f"sgd{escape}"))
    assert main(["status", "s.yaml", "--store", "runs"]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output and "\x07" not in output and "\\x1b" in output


def test_a_plan_leads_nowhere_else(tmp_path: Path) -> None:
    from suite.analysis.report import write_index

    store, plan = write_store(tmp_path / "runs", Planted(batch_sizes=(1,), steps=50))
    folder = store.path / "sweeps" / "elsewhere"
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps({**plan, "plan_id": "../../../out"}))
    assert [found["plan_id"] for found in store.plans()] == [plan["plan_id"]]
    assert "in another sweep's folder" in store.problems[0][1]
    write_index(store, tmp_path / "deep" / "index")
    assert not (tmp_path / "out").exists()
