"""What the README promises, followed literally."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from suite.optim import parse
from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {
    "data.source": "sample", "data.tokenizer": "byte", "data.seq_len": 16, "data.budget_steps": 20,
    "data.eval_samples": 4,
    "model.num_layers": 1, "model.num_heads": 1, "model.width": 8, "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
}  # fmt: skip


def block(kind: str, containing: str) -> str:
    found = [b for b in re.findall(rf"```{kind}\n(.*?)```", README, flags=re.S) if containing in b]
    assert len(found) == 1, f"the README has {len(found)} {kind} blocks with {containing!r}"
    return found[0]


def test_an_optimizer_in_one_file_is_swept(tmp_path: Path) -> None:
    (tmp_path / "my_optimizer.py").write_text(block("python", "class Mine"))
    optimizers = yaml.safe_load(block("yaml", "my_optimizer.Mine"))
    sweep = {"task": "fineweb/gpt", "overrides": SMALL, "batch_size": [2], "question": "?", "source": "", **optimizers}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for command in ("sweep", "gap", "report"):
        done = subprocess.run(
            [sys.executable, "-m", "suite", command, "sweep.yaml"],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if command == "sweep":  # ends with what can be said, and with how more could be
            said = " ".join(done.stdout.split())
            assert "At batch size 2, the only one measured, the gap is open on one seed." in said
            assert "`report_seeds: [43, 44, 45]` in sweep.yaml" in said
        if command == "gap":
            assert "mine" in done.stdout.lower()
    records = [
        record for record in Store(tmp_path / "runs").records() if record["optimizer"]["name"] == "my_optimizer.Mine"
    ]
    assert {(r["optimizer"]["lr"], r["optimizer"]["momentum"]) for r in records} == {
        (lr, momentum) for lr in (0.01, 0.0316228, 0.1, 0.316228, 1.0) for momentum in (0.9, 0.99)
    }
    assert all(r["status"] == "finished" for r in records)


def test_the_rule_that_reduces_is_one() -> None:
    made: dict[str, Any] = {"__name__": __name__}
    exec(block("python", "class Mine") + block("python", 'scope = "tensor"'), made)
    assert parse(made["Unit"](lr=0.1)).scope == "tensor"


def test_the_sweep_in_the_readme_is_one(tmp_path: Path) -> None:
    from suite.sweep import Plan, read_spec

    (tmp_path / "sweep.yaml").write_text(block("yaml", "question:"))
    spec = read_spec(tmp_path / "sweep.yaml")
    plan = Plan(spec, lambda run: (f"{parse(run.settings)}{run.batch_size}{run.seed}", 1))
    assert len(plan.runs) == 5 * 2 * (7 * 3 + 7 * 3)


@pytest.mark.parametrize("path", re.findall(r"`((?:configs|docs|examples|tasks|benchmarks)/[\w./]+)`", README))
def test_every_path_in_the_readme_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_command_in_the_readme_is_one() -> None:
    from suite.cli.main import COMMANDS

    assert set(re.findall(r"python -m suite (\w+)", README)) <= set(COMMANDS)
