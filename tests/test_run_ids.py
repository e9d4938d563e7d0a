"""Runs keep their ids: what is in somebody's store today is found by the code of tomorrow.

`run_ids.json` was written by the code of version 0.1, before its rooms were arranged anew, for data of a pretended
size and fingerprint. An id in it changes only with a reason that is worth a store's runs: those of runs with MixUp did
when an image ceased to be its own partner, those of the papers' recipes and sweeps when these came to be as in the
papers (the rates of papers 2 and 3 end at 1e-5 after a first step that is idle, images of paper 1's heavy-tailed
subset are flipped and cropped, grids, budgets and schedules follow the figures; the longest runs on SlimPajama keep
enough of it to see no sample twice, those of 410M and 1B parameters have the paper's steps), and those of Scion when
it became a rule of the suite, with another meaning of its momentum. Those of the papers'
sweeps are what they were where a GPU was at hand, since precision is the recipe's and no longer the machine's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from suite.execution.matrix import task_file
from suite.execution.resolver import Resolver
from suite.execution.runs import Runs
from suite.optim.parsing import resolve
from suite.sweep import Plan, read_spec
from suite.training.data import Data
from suite.training.opening import run_identity

ROOT = Path(__file__).resolve().parents[1]
IDS = json.loads((ROOT / "tests" / "run_ids.json").read_text())
OPTIMIZERS = [
    {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    {"name": "adam", "lr": 1e-3, "beta": 0.95},
    {"name": "muon", "lr": 0.02, "adam.lr": 1e-3},
]
SLOW = [name for name in IDS["sweeps"] if IDS["sweeps"][name]["runs"] > 200]


@pytest.fixture(autouse=True)
def pretended_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure_open(self: Data) -> str:
        self.fingerprint, self.train_samples, self.val_samples = "0" * 16, 50_000_000, 10_000
        return self.fingerprint

    monkeypatch.setattr(Data, "ensure_open", ensure_open)
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", IDS["tasks"])
def test_every_task_keeps_the_ids_of_its_runs(name: str) -> None:
    resolver = Resolver()
    config = resolver.resolve(["--config", str(task_file(name)), f"--model.init_args.name={name}"])
    config["seed_everything"] = 7
    ids = []
    for spec in OPTIMIZERS:
        smallest = 2 if config["data"]["init_args"].get("mixup") else 1  # MixUp needs a partner
        for batch_size in (1, 8) if name.startswith("toy") else (smallest, 64):
            config["model"]["init_args"]["optimizer"] = resolve(spec)
            config["data"]["init_args"]["batch_size"] = batch_size
            task, data = resolver.build_data(config)
            data.ensure_open()
            ids.append(run_identity(config, task, data)[0])
    assert ids == IDS["tasks"][name]


def test_every_sweep_has_the_same_runs_with_and_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    # An id is a function of the configuration and the data. Only settings of the trainer could depend on the machine.
    asked = {
        (panel.task, f"--{name}={value}")
        for path in (ROOT / "configs" / "sweeps").rglob("*.yaml")
        for panel in read_spec(path).parts
        for name, value in ({"trainer.logger": False} | panel.overrides).items()
        if name.startswith("trainer.")
    }
    resolved: dict[bool, list[object]] = {}
    for has_gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        monkeypatch.setattr(torch.cuda, "device_count", lambda has_gpu=has_gpu: int(has_gpu))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, has_gpu=has_gpu: has_gpu)
        resolver = Resolver()
        resolved[has_gpu] = [resolver.resolve(["--config", str(task_file(task)), word]) for task, word in sorted(asked)]
    assert len(asked) > 40 and resolved[False] == resolved[True]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in IDS["sweeps"]]
)
def test_every_sweep_keeps_the_ids_of_its_runs_and_its_plan(name: str) -> None:
    spec = read_spec(ROOT / "configs" / "sweeps" / f"{name}.yaml")
    ids = [run.run_id for run in Plan(spec, Runs(spec).identify).runs]
    assert {
        "plan": spec.plan_id,
        "runs": len(ids),
        "first": ids[0],
        "last": ids[-1],
        "sha256": hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16],
    } == IDS["sweeps"][name]
