"""A stranger's store: nothing that it names is imported, it shows no page of its own, and writes to no file outside."""

from __future__ import annotations

import base64
import copy
import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from whole_store import ASKED, changed, places, renamed, rewrite

from suite.cli.main import main
from suite.cli.output import show_warnings_as_text
from suite.execution.recorded import config_of
from suite.execution.sweeping import Sweep
from suite.fields import escaped
from suite.records import Store
from suite.sweep import read_spec

EVIL = "evil_module.Evil"
SPECS: list[Any] = [
    EVIL,
    {"class_path": EVIL},
    {EVIL: {}},
    [EVIL],
    {"name": EVIL, "lr": 0.1},
    f"{{class_path: {EVIL}}}",
]


@pytest.fixture
def store(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A copy of the store in the working directory, with a module that leaves a trace when it is imported."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "evil_module.py").write_text("open('trace', 'w').close()\nclass Evil: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield Store("runs")
    assert not Path("trace").exists() and "evil_module" not in sys.modules


def test_the_trace_is_left_by_an_import(store: Store) -> None:
    __import__("evil_module")
    assert Path("trace").exists()
    Path("trace").unlink()
    del sys.modules["evil_module"]


def json_files(store: Store) -> list[Path]:
    records = sorted(store.path.glob("runs/*/*/record.json"))
    return [records[0], *store.path.glob("sweeps/*/plan.json")]


def planted(document: Any) -> Iterator[Any]:
    """A file with a class path in one of its places, or as a key beside it."""
    for number, place in enumerate(places(document)):
        yield changed(document, place, SPECS[number % len(SPECS)])
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        if isinstance(parent, dict) and number % 3 == 0:
            yield changed(document, place[:-1], {**parent, EVIL: {}, "class_path": EVIL, "name": EVIL})


def run(arguments: list[str]) -> None:
    try:
        assert main(arguments) in (0, 1, 2)
    except SystemExit as stop:
        assert stop.code == 2
    assert not Path("trace").exists(), arguments


def everywhere(document: Any, value: Any) -> Any:
    """A file in which every text is the value, but for those that a reader asks for."""
    if isinstance(document, dict):
        kept = ("run_id", "plan_id", "status", "sha256", "final_loss", "schema", "task", "name", "optimizer")
        return {key: inner if key in kept else everywhere(inner, value) for key, inner in document.items()}
    if isinstance(document, list):
        return [everywhere(inner, value) for inner in document]
    return value if isinstance(document, str) else document


@pytest.mark.parametrize(
    "command",
    [["status", "s.yaml"], ["gap", "s.yaml"], ["report", "s.yaml", "--looks", "page"], ["report"],
     ["compare", "runs", "runs"], ["why"],
     ["theory", "fit", "s.yaml"], ["sweep", "s.yaml", "--dry-run"], ["sweep", "s.yaml"]],
    ids=" ".join,
)  # fmt: skip
def test_no_class_that_a_store_names_is_imported_by_a_command(store: Store, command: list[str]) -> None:
    for path in json_files(store):
        whole = json.loads(path.read_text())
        for document in (everywhere(whole, EVIL), {**whole, "diagnose": {EVIL: {}}, "model": {"class_path": EVIL}}):
            rewrite(path, document)
            run([*command, *([] if command[0] == "compare" else ["--store", "runs"])])
        rewrite(path, whole)


def test_no_place_of_a_store_leads_a_reader_to_a_class(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for path in json_files(store):
        for document in planted(json.loads(path.read_text())):
            rewrite(path, document)
            run(["status", "s.yaml", "--store", "runs"])
    capsys.readouterr()


def test_no_place_of_a_plan_leads_a_sweep_to_a_class(store: Store) -> None:
    (path,) = store.path.glob("sweeps/*/plan.json")
    spec, whole = read_spec("s.yaml"), json.loads(path.read_text())
    whole["runs"] = [whole["runs"][0], whole["runs"][-1]]
    documents = [changed(whole, place, value) for place in [("diagnose",), ("runs", 0, "axes")] for value in SPECS]
    documents += [document for number, document in enumerate(planted(whole)) if number % 9 == 0]
    axes = whole["runs"][0]["axes"]
    for more in ({"name": EVIL}, {"class_path": EVIL}, {"momentum": EVIL}, {EVIL: 1}):
        documents.append(
            changed(whole, ("runs", 0), {**whole["runs"][0], "run_id": "e" * 16, "axes": {**axes, **more}})
        )
        documents.append(changed(whole, ("runs", 0), {**whole["runs"][0], "run_id": "e" * 16, "axes": more}))
    for document in documents:
        rewrite(path, document)
        try:
            sweep = Sweep(spec, Store("runs"), command="", pack=1, compiled="off")
        except ValueError as refused:
            assert EVIL in str(refused) and "not imported" in str(refused)
        else:
            assert EVIL not in str([run.settings for run in sweep.plan.runs])
        assert not Path("trace").exists(), document


def test_no_place_of_a_record_leads_a_diagnosis_to_a_class(store: Store) -> None:
    path = json_files(store)[0]
    run_id, whole = path.parent.name, json.loads(path.read_text())
    assert config_of(run_id, store)["model"] == whole["config"]["model"]
    config = whole["config"]
    values = (EVIL, {"class_path": EVIL})
    documents = [changed(config, place, values[number % 2]) for number, place in enumerate(places(config))]
    documents += [{**config, "trainer": {"callbacks": [value], "strategy": value}} for value in (EVIL, *SPECS[::2])]
    refused = 0
    for document in documents:
        rewrite(path, {**whole, "config": document})
        try:
            given = config_of(run_id, store)
        except ValueError as error:
            refused += "not imported" in str(error)
        else:
            # What is left of it is a text in a field for texts, such as the place of the data.
            assert EVIL not in json.dumps({k: v for k, v in given.items() if k not in ("model", "data")})
            assert "class_path" not in json.dumps(given["data"]["init_args"])
        assert not Path("trace").exists(), document
    assert refused > len(documents) / 4
    for task in (EVIL, "evil/task"):
        rewrite(path, {**whole, "task": task})
        with pytest.raises(ValueError, match="not imported"):
            config_of(run_id, store)


def test_a_class_that_the_user_names_is_imported(store: Store) -> None:
    path = json_files(store)[0]
    record = json.loads(path.read_text())
    Path("mine.py").write_text("import torch\nclass Mine(torch.optim.SGD):\n    pass\n")
    arguments = {"path": "mine.Mine", "lr": 0.1, "arguments": {}}
    record["config"]["model"]["init_args"]["optimizer"] = {"class_path": "suite.optim.External", "init_args": arguments}
    rewrite(path, record)
    with pytest.raises(ValueError, match="mine.Mine"):
        config_of(path.parent.name, store)
    command = ["diagnose", "--run", path.parent.name, "--store", "runs", "--start", "--diagnostics", "updates"]
    assert main(command) == 2
    named = ["--task", "toy/quadratic", "--optimizer", "mine.Mine", "--optimizer.lr", "1"]
    assert main([*command, *named]) == 0


def test_an_exported_request_that_somebody_changed_is_refused(store: Store) -> None:
    shutil.rmtree("runs/runs")
    assert main(["sweep", "s.yaml", "--store", "runs", "--pack", "off", "--export-commands", "lines"]) == 0
    line = Path("lines").read_text().splitlines()[0]
    words = shlex.split(line)
    request = Path(words[words.index("--request") + 1])
    asked = json.loads(request.read_text())
    asked["configs"][0]["model"]["class_path"] = EVIL
    request.write_text(json.dumps(asked))
    surroundings = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(line, shell=True, capture_output=True, text=True, env=surroundings)
    assert done.returncode == 2 and "is not the one that was exported" in done.stderr, done


# Links and pages.


def test_a_report_overwrites_nothing_outside_the_store(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("index.html", "gap.csv", "gap.svg", "gap.png", "made_from.txt"):
        (mine / name).write_text("mine")
    before = {path.name: path.read_text() for path in mine.iterdir()}
    report = next(store.path.glob("sweeps/*")) / "report"
    for folder in ("tables", "figures"):
        (report / folder).mkdir(parents=True)
    (report / "index.html").symlink_to(mine / "index.html")
    (report / "made_from.txt").symlink_to(mine / "made_from.txt")
    (report / "tables" / "gap.csv").symlink_to(mine / "gap.csv")
    for name in ("gap.svg", "gap.png"):
        (report / "figures" / name).symlink_to(mine / name)
    assert main(["report", "s.yaml", "--looks", "page", "--store", "runs"]) == 0
    assert {path.name: path.read_text() for path in mine.iterdir()} == before
    assert "Which is better?" in (report / "index.html").read_text()


@pytest.mark.parametrize("linked", ["report", "report/tables", "report/figures", ""])
def test_a_report_goes_through_no_linked_folder(
    store: Store, linked: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    plan = next(store.path.glob("sweeps/*"))
    folder = plan / linked
    if linked:
        folder.parent.mkdir(exist_ok=True)
        folder.symlink_to(mine)
        command = ["report", "s.yaml", "--looks", "page"]
    else:
        (store.path / "report").symlink_to(mine)
        command = ["report"]
    assert main([*command, "--store", "runs"]) in (1, 2)
    said = capsys.readouterr().err
    assert "a link is where a folder" in said and not list(mine.iterdir())


def test_a_page_that_somebody_changed_is_drawn_again(store: Store, tmp_path: Path) -> None:
    from suite.analysis.report import kept

    assert main(["report", "--store", "runs"]) == 0
    folder = next(path for path in (store.path / "report").iterdir() if path.is_dir())
    page, signature = folder / "index.html", (folder / kept.NAME).read_text()
    drawn = page.read_text()
    before = page.stat().st_mtime_ns
    assert main(["report", "--store", "runs"]) == 0
    assert page.stat().st_mtime_ns == before  # kept
    for change in (page, folder / "figures" / "gap.svg", folder / "tables" / "gap.csv"):
        change.write_text("<script>alert(1)</script>")
        assert main(["report", "--store", "runs"]) == 0
        assert page.read_text() == drawn and "alert(1)" not in change.read_text()
        assert (folder / kept.NAME).read_text() == signature
    page.write_text("hostile")  # by somebody who knows how pages are signed, but not this user's key
    os.environ["XDG_CACHE_HOME"] = str(tmp_path / "theirs")
    (folder / kept.NAME).write_text(kept._signature(folder, "0" * 64))
    os.environ["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    assert main(["report", "--store", "runs"]) == 0
    assert page.read_text() == drawn


def test_a_planted_figure_is_on_no_index(store: Store) -> None:
    assert main(["report", "--store", "runs"]) == 0
    folder = next(path for path in (store.path / "report").iterdir() if path.is_dir())
    (folder / "figures" / "branches.svg").write_text("<svg>planted</svg>")
    assert main(["report", "--store", "runs"]) == 0
    index = (store.path / "report" / "index.html").read_text()
    shown = [base64.b64decode(text) for text in re.findall(r'img src="data:image/svg\+xml;base64,([^"]*)"', index)]
    assert shown and not any(b"planted" in image for image in shown)


# Terminals and spreadsheets.

RAW = "\x1b[2J\x07\r\n\u202e\u0085"


def test_no_control_character_of_a_store_reaches_a_terminal(
    store: Store, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    asked = copy.deepcopy(ASKED)
    asked["question"], asked["optimizers"]["sgd-renamed"] = RAW, {"name": "sgd", "lr": [0.001, 0.002]}
    Path("t.yaml").write_text(yaml.safe_dump(asked))
    sweep = Sweep(read_spec("t.yaml"), Store("runs"), command="", pack=1, compiled="off")
    plan = sweep.plan.as_record(command=RAW, title=RAW) | {"name": f"n{RAW}", "task": RAW, "plan_id": f"t{RAW}"}
    plan = renamed(plan, "sgd-renamed", f"sgd{RAW}")
    store.write_plan({**plan, "overrides": {RAW: RAW}})
    store.write_plan({**plan, "name": "t", "plan_id": sweep.plan.spec.plan_id})
    for path in store.path.glob("runs/*/*/record.json"):
        record = json.loads(path.read_text())
        rewrite(path, {**record, "task": RAW, "host": RAW, "error": RAW, "started": RAW, "packages": {RAW: RAW}})
    next(store.path.glob("runs/*/*/record.json")).write_text(json.dumps({"schema": RAW}))
    lease = next(store.path.glob("runs/*/*")) / "lease.json"
    lease.write_text(json.dumps({"token": "x", "host": RAW, "pid": 1, "machine": RAW}))
    capfd.readouterr()
    for command in (["status", "t.yaml"], ["gap", "t.yaml"], ["report", "t.yaml", "--looks", "page"], ["report"],
                    ["compare", "runs"],
                    ["sweep", "t.yaml", "--dry-run", "--workers", "1", "--pack", "off"]):  # fmt: skip
        main([*command, *(["runs"] if command[0] == "compare" else ["--store", "runs"])])
        said = capfd.readouterr()
        lines = (said.out + said.err).split("\n")
        assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()]
        assert not [line for line in lines if line.startswith(("\u202e", "[2J"))]
    assert all(str(warning.message).isprintable() for warning in recwarn.list)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r="])
def test_no_cell_of_a_table_is_a_formula(start: str) -> None:
    pandas = pytest.importorskip("pandas")
    from suite.analysis.csv_text import csv_text

    formula = f"{start}cmd|'/c calc'!A1"
    frame = pandas.DataFrame({formula: [formula, "-0.1", "+3e5"], "number": [-1.5, 2.0, float("nan")], "n": [-1, 2, 3]})
    head, *rows = csv.reader(io.StringIO(csv_text(frame), newline=""))
    mark = "'" if formula.isprintable() else ""
    assert head[0] == rows[0][0] == mark + escaped(formula) and rows[0][1:] == ["-1.5", "-1"]
    assert not head[0].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert rows[1][0] == "-0.1" and rows[2][0] == "+3e5" and rows[2][1] == ""


def test_no_table_of_a_report_holds_a_formula(store: Store) -> None:
    asked = copy.deepcopy(ASKED)
    asked["optimizers"]["=1+1"] = {"name": "sgd", "lr": [0.001, 0.002]}
    Path("t.yaml").write_text(yaml.safe_dump(asked))
    sweep = Sweep(read_spec("t.yaml"), Store("runs"), command="", pack=1, compiled="off")
    store.write_plan(sweep.plan.as_record(command="", title=""))
    assert main(["report", "t.yaml", "--looks", "page", "--store", "runs", "--out", "out"]) == 0
    tables = list(Path("out").rglob("*.csv"))
    cells = [cell for path in tables for line in path.read_text().splitlines() for cell in line.split(",")]
    assert "'=1+1" in cells and not [cell for cell in cells if cell.startswith(("=", "@"))]


def test_a_librarys_warning_reaches_the_terminal_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    show_warnings_as_text()
    said = warnings.formatwarning(f"Glyph 27 ({RAW}) missing", UserWarning, "f.py", 3)
    assert said.startswith("UserWarning: Glyph 27 (\\x1b[2J") and said.endswith("\n") and said[:-1].isprintable()
