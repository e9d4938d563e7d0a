"""A command line is remembered while nothing that went into its run has changed, and then imports no torch."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import ARGUMENTS
from synthetic_records import Planted, write_store

from suite.cli.main import main
from suite.execution.remembered import remember, remembered
from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["--optimizer", "sgd", "--config", "layer.yaml"]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that remembers `WORDS`, said in a folder with a layer, a module of the user's and data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "layer.yaml").write_text("a: 1\n")
    (tmp_path / "task.yaml").write_text("b: 1\n")
    (tmp_path / "remembered_module.py").write_text("x = 1\n")
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "inner" / "text.txt").write_text("text")
    monkeypatch.delitem(sys.modules, "remembered_module", raising=False)
    importlib.import_module("remembered_module")
    store, _ = write_store(tmp_path / "runs", Planted(batch_sizes=(1,), steps=5))
    run_id = next(record["run_id"] for record in store.records())
    remember(store, WORDS, run_id, settings=[Path("task.yaml")], data=[Path("data"), Path("none")])
    record = remembered(store, WORDS)
    assert record is not None and record["run_id"] == run_id
    return store


@pytest.mark.parametrize(
    "change",
    [
        lambda store: Path("layer.yaml").write_text("a: 22\n"),
        lambda store: Path("task.yaml").unlink(),
        lambda store: os.utime("remembered_module.py", (1, 1)),
        lambda store: Path("data/inner/text.txt").write_text("texts"),
        lambda store: Path("data/more.txt").write_text("text"),
        lambda store: [path.unlink() for path in store.path.glob("runs/*/*/record.json")],
        lambda store: [path.write_text('{"files": [[1]], "run_id": 3}') for path in store.path.glob("requests/*")],
        lambda store: [path.write_text("{") for path in store.path.glob("requests/*")],
    ],
    ids=["a layer", "the task", "a module", "a datum", "another file", "records", "a strange entry", "a broken entry"],
)
def test_whatever_has_changed_is_found_out_anew(kept: Store, change: Callable[[Store], object]) -> None:
    change(kept)
    assert remembered(kept, WORDS) is None


def test_other_words_places_and_processes_are_not_remembered(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert remembered(kept, [*WORDS, "--rerun"]) is None and remembered(kept, WORDS[2:]) is None
    with monkeypatch.context() as patched:
        patched.setenv("LOCAL_RANK", "0")
        assert remembered(kept, WORDS) is None
    with monkeypatch.context() as patched:
        patched.setenv("SUITE_CONFIG_ROOT", "elsewhere")
        assert remembered(kept, WORDS) is None
    monkeypatch.chdir("data")
    assert remembered(Store("../runs"), WORDS) is None


def test_asking_for_a_trained_run_again_imports_no_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*ARGUMENTS, "--optimizer", "sgd", "--optimizer.lr", "0.1", "--data.budget_steps", "2"]
    words = ["fit", *words, "--data.batch_size", "2", "--data.data_dir", "data", "--store", "store"]
    assert main(words) == 0
    said = capsys.readouterr().out.split("Trained: ")[1]
    again = f"import sys; from suite.cli.main import main; main({words!r}); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", again], capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    first, record, checkpoint, imported = done.stdout.splitlines()
    assert first == f"Already trained (--rerun trains again): {said.splitlines()[0]}" and imported == "False"
    assert record in said and "trains again and leaves the final weights" in checkpoint
