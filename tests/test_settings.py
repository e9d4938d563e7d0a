"""A setting is written once: one line adds one, and a pair is added from outside the checkout."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from models.gpt import GPT, GPTSettings
from suite.execution.matrix import task_files
from suite.execution.resolver import Resolver
from suite.fields import read_yaml
from suite.records import Store
from suite.training import Task, configurable
from suite.training.opening import identity_of
from tasks.fineweb.data import FineWeb
from tasks.kinds.next_token import NextToken
from tasks.toy.data import NoisyQuadratic

ROOT = Path(__file__).resolve().parents[1]
TINY = [
    "--model.num_layers", "1", "--model.num_heads", "1", "--model.width", "16", "--data.source", "sample",
    "--data.tokenizer", "byte", "--data.seq_len", "16", "--data.budget_steps", "2", "--data.batch_size", "2",
    "--data.eval_samples", "4", "--trainer.accelerator", "cpu",
]  # fmt: skip


def suite(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "suite", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_line_beside_the_network_adds_a_setting(tmp_path: Path) -> None:
    for part in ("models", "tasks", "configs/tasks/fineweb"):
        shutil.copytree(ROOT / part, tmp_path / part)
    source = tmp_path / "models" / "gpt.py"
    line = '    """Settings of `GPT`; the defaults are paper 1\'s."""\n'
    assert line in source.read_text()
    source.write_text(source.read_text().replace(line, f'{line}    window: int = 7\n    """Positions seen."""\n'))
    listed = suite(tmp_path, "fit", "--model.help", "tasks.fineweb.gpt.FineWebGPT")
    assert "--model.window WINDOW" in listed and "Positions seen. (type: int, default: 7)" in listed
    sgd = ["--optimizer", "sgd", "--optimizer.lr", "0.1"]
    suite(tmp_path, "fit", "--task", "fineweb/gpt", *sgd, *TINY, "--model.window", "9")
    (record,) = Store(tmp_path / "runs").records()
    assert record["config"]["model"]["init_args"]["window"] == 9
    assert record["identity"]["model"]["init_args"]["window"] == 9


@configurable
class Windowed(NextToken, GPTSettings):
    """GPT with settings of its own, one of which changes no number."""

    window: int = dataclasses.field(default=7, metadata={"at_least": 1, "at_most": 9})
    tiles: int = dataclasses.field(default=2, metadata={"beside": "how the work is cut"})

    def make_network(self, facts: dict[str, Any]) -> GPT:
        return GPT(self, vocab_size=facts["vocab_size"], max_len=facts["seq_len"])


class Plain(Windowed):
    """A class whose constructor hands on what it does not know."""

    def __init__(self, *, depth: int = 3, **recipe: Any) -> None:
        super().__init__(**recipe)
        self.depth = depth


class PlainData(FineWeb):
    def __init__(self, *, rows: int = 3, **settings: Any) -> None:
        super().__init__(**settings)
        self.rows = rows


@dataclasses.dataclass(kw_only=True, eq=False)
class Decorated(Windowed):
    """A class with the decorator of the standard library."""

    depth: int = 3
    shuffle: ClassVar[bool] = False


@pytest.mark.parametrize("cls", [Plain, Decorated])
def test_every_way_to_write_a_task_takes_all_settings(cls: type[Task]) -> None:
    resolver = Resolver()
    task = ["--model", f"{__name__}.{cls.__name__}", "--model.depth", "4", "--model.num_heads", "2"]
    data = ["--data", f"{__name__}.PlainData", "--data.rows", "5", "--data.batch_size", "2"]
    config = resolver.resolve([*task, *data])
    made, of_data = resolver.build_data(config)
    assert isinstance(made, Windowed) and isinstance(of_data, PlainData)
    assert (made.depth, made.num_heads, made.tiles) == (4, 2, 2)  # type: ignore[attr-defined]
    assert (of_data.rows, of_data.batch_size) == (5, 2)
    identity = identity_of(config, type(made), type(of_data), fingerprint="f")
    assert identity["model"]["init_args"]["depth"] == 4 and identity["data"]["init_args"]["rows"] == 5
    assert "tiles" not in identity["model"]["init_args"] and "source" not in identity["data"]["init_args"]
    with pytest.raises(SystemExit):
        resolver.resolve([*task, *data, "--model.num_head", "2"])


def test_ranges_stand_at_the_fields() -> None:
    with pytest.raises(ValueError, match=r"^model\.window must be at least 1 and at most 9, got 10\.$"):
        Plain(window=10)
    with pytest.raises(ValueError, match=r"^model\.num_layers must be at least 1 and at most 1000, got 0\.$"):
        Windowed(num_layers=0)
    with pytest.raises(TypeError, match="shuffle"):
        NoisyQuadratic(batch_size=1, shuffle=True)  # type: ignore[call-arg]


def test_the_example_adds_a_pair_from_outside(tmp_path: Path) -> None:
    folder = tmp_path / "table_mlp"
    shutil.copytree(ROOT / "examples" / "table_mlp", folder)
    assert len((folder / "table" / "mlp.py").read_text().splitlines()) <= 25
    suite(folder, "fit", "--task", "table/mlp", "--optimizer", "adam", "--optimizer.lr", "0.01", "--model.width", "8")
    (record,) = Store(folder / "runs").records()
    assert record["status"] == "finished" and record["task"] == "table/mlp" and record["steps"] == 220
    assert record["identity"]["model"]["init_args"]["width"] == 8
    suite(folder, "sweep", "sweep.yaml", "--store", "swept")
    swept = list(Store(folder / "swept").records())
    assert {run["optimizer"]["name"] for run in swept} == {"sgd", "adam"}
    assert all(run["final"]["ema"] < 0.5 for run in swept)


def test_every_recipe_states_its_precision_and_its_micro_batch() -> None:
    for name, path in task_files().items():
        stated = read_yaml(str(path))
        assert stated["trainer"]["precision"] == ("32-true" if name.startswith("toy/") else "bf16-mixed"), name
        assert stated["data"]["init_args"]["micro_batch"] >= 1, name
