"""Where memory runs out, the micro-batch is halved as often as it takes; the run and its numbers stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import ARGUMENTS

from suite.cli.main import main
from suite.execution.messages import WorkRequest
from suite.execution.resolver import Resolver
from suite.execution.runs import Runs
from suite.execution.worker import Worker
from suite.packs.packed_task import PackedTask
from suite.records import Store
from suite.sweep import RunSpec, read_spec
from suite.training import Task
from suite.training.memory import OutOfMemory

ROOT = Path(__file__).resolve().parents[1]
ROOM = 2
"""Samples of a forward pass that the pretended memory holds."""


def without_room(monkeypatch: pytest.MonkeyPatch, *, packs: bool = False) -> None:
    """Have forward passes of more than `ROOM` samples, or all those of packs, run out of memory."""

    def limited(cls: type, method: str, room: int) -> None:
        real = getattr(cls, method)

        def call(self: Any, *args: Any) -> Any:
            if max(len(batch) for batch in args[-1]) > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return real(self, *args)

        monkeypatch.setattr(cls, method, call)

    limited(Task, "_accumulate", ROOM)
    limited(PackedTask, "_take", 0 if packs else ROOM)


def configs(folder: Path, *changes: str) -> list[dict[str, Any]]:
    from suite.execution.matrix import task_file

    words = ["--config", str(task_file("fineweb/gpt")), "--model.init_args.name=fineweb/gpt"]
    words += [word.replace("--model.", "--model.init_args.") for word in ARGUMENTS[2:]]
    words += ["--data.data_dir", str(folder / "data"), "--data.batch_size", "8", "--data.budget_steps", "6", *changes]
    resolver = Resolver()
    return [resolver.resolve([*words, f"--model.optimizer={{name: sgd, lr: {lr}}}"]) for lr in (0.1, 0.2)]


def same(left: Store, right: Store, *, rel: float) -> None:
    """The same runs with the same losses, but for the order of sums."""
    records = {record["run_id"]: record for record in left.records()}
    assert set(records) == {record["run_id"] for record in right.records()}
    for run_id in records:
        losses = (store.curves(run_id)["train_loss"].to_pylist() for store in (left, right))
        assert next(losses) == pytest.approx(next(losses), rel=rel)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_worker_halves_the_micro_batch_until_it_fits(
    at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = configs(tmp_path)
    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    Worker().train_one_by_one(WorkRequest(do="run", configs=asked, store=str(whole.path)))
    without_room(monkeypatch)
    worker = Worker()
    train = worker.train_at_once if at_once else worker.train_one_by_one
    records = train(WorkRequest(do="run", configs=asked, store=str(cut.path)))
    assert {record["status"] for record in records} == {"finished"}
    assert {record["config"]["data"]["init_args"]["micro_batch"] for record in records} == {ROOM}
    same(whole, cut, rel=1e-4)
    said = capsys.readouterr().err
    assert "The memory does not hold 8 samples at a time; trained again with --data.micro_batch 4" in said
    assert "does not hold 4 samples" in said and "does not hold 2" not in said


def test_a_measurement_says_which_micro_batch_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_room(monkeypatch)
    request = WorkRequest(do="measure", configs=configs(tmp_path)[:1], seconds=0.1, share=1.0, run_steps=100)
    assert Worker().measure(request).micro_batch == ROOM


def test_runs_that_do_not_fit_at_once_are_trained_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_room(monkeypatch, packs=True)
    request = WorkRequest(do="run", configs=configs(tmp_path), store=str(tmp_path / "runs"))
    assert Worker().train(request) == ["finished", "finished"]
    assert "trained in two parts: the memory does not hold so many runs at once" in capsys.readouterr().err


def test_a_micro_batch_that_is_part_of_the_run_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_room(monkeypatch)
    monkeypatch.setattr(Task, "batch_coupled", True)
    request = WorkRequest(do="run", configs=configs(tmp_path), store=str(tmp_path / "runs"))
    with pytest.raises(OutOfMemory, match=r"set data\.micro_batch below 8, which makes another run"):
        Worker().train_one_by_one(request)


def test_fit_halves_the_micro_batch_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_room(monkeypatch)
    words = [
        *ARGUMENTS,
        "--data.data_dir",
        str(tmp_path / "data"),
        "--data.batch_size",
        "8",
        "--data.budget_steps",
        "6",
    ]
    store = tmp_path / "runs"
    assert main(["fit", *words, "--optimizer", "sgd", "--optimizer.lr", "0.1", "--store", str(store)]) == 0
    assert "trained again with --data.micro_batch 2" in capsys.readouterr().err
    (record,) = Store(store).records()
    assert record["status"] == "finished" and record["config"]["data"]["init_args"]["micro_batch"] == ROOM


def test_runs_begin_with_the_micro_batch_that_fitted_in_the_measurement() -> None:
    spec = read_spec(ROOT / "configs" / "sweeps" / "demo.yaml")
    runs = Runs(spec)
    run, other = (RunSpec(settings={"name": "sgd", "lr": 0.1}, batch_size=size, seed=42) for size in (32, 8))

    def micro_batch(run: RunSpec) -> int:
        return runs.config(run)["data"]["init_args"]["micro_batch"]

    stated = micro_batch(run)
    runs.cut_as_measured(run, stated)
    runs.cut_as_measured(run, None)
    assert micro_batch(run) == stated
    for fitted, kept in ((8, 8), (16, 8), (4, 4)):
        runs.cut_as_measured(run, fitted)
        assert micro_batch(run) == kept and micro_batch(other) == stated
