"""One run: reproducible, resumable, recorded, whatever becomes of it."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from small_runs import ADAM, SGD, losses, make_data, make_task, make_trainer, train

from suite.records import Store, final_losses
from suite.training import BatchPlan


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


class Stop(Callback):
    """Ends training as a user's Ctrl-C does, after a number of blocks."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.blocks == 0:
            raise KeyboardInterrupt
        self.blocks -= 1


class Fail(Callback):
    """Breaks after the first block."""

    def on_train_batch_end(self, *_: Any) -> None:
        raise OSError("no disk")


def test_record_holds_what_the_design_says(tmp_path: Path, data_dir: Path) -> None:
    store = Store(tmp_path)
    record = train(store, make_data(data_dir), ADAM).record
    curves = store.curves(record["run_id"])
    assert record["status"] == "finished" and record["steps_done"] == record["steps"] == curves.num_rows == 40
    assert record["optimizer"]["name"] == "adam" and record["optimizer"]["lr"] == 1e-2
    values = curves["train_loss"].to_pylist()
    assert values[0] == pytest.approx(math.log(256), abs=1e-5)
    assert record["final"] == final_losses(values, record["metrics"]["val/loss"])
    assert record["metrics"]["val/perplexity"] == pytest.approx(math.exp(record["metrics"]["val/loss"]), rel=1e-5)
    assert values[-1] < values[0] - 1
    assert set(record["seconds"]) == {"train", "eval", "log", "total"}
    lrs = curves["lr"].to_pylist()
    assert lrs[:4] == pytest.approx([0.0025, 0.005, 0.0075, 0.01]) and max(lrs) == pytest.approx(0.01)
    assert 0 < lrs[-1] < 1e-4
    norms, clipped = curves["grad_norm"].to_pylist(), curves["clipped"].to_pylist()
    assert clipped == [norm > 1.0 for norm in norms]


def test_a_second_run_finds_the_record(tmp_path: Path, data_dir: Path) -> None:
    store = Store(tmp_path)
    first = train(store, make_data(data_dir))
    again = train(store, make_data(data_dir))
    assert first.trained and not again.trained and again.record == first.record
    other = train(store, make_data(data_dir), seed=43)
    assert other.trained and other.record["run_id"] != first.record["run_id"]
    assert train(store, make_data(data_dir), rerun=True).trained


def test_a_result_gives_way_to_a_result_alone(tmp_path: Path, data_dir: Path) -> None:
    store = Store(tmp_path)
    first = train(store, make_data(data_dir, block_steps=3)).record
    files = {path.name: path.read_bytes() for path in store.run_folder(first["run_id"]).iterdir()}
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(store, make_data(data_dir, block_steps=3), rerun=True, trainer={"callbacks": [Stop(4)]})
    with pytest.raises(OSError, match="no disk"):
        train(store, make_data(data_dir, block_steps=3), rerun=True, trainer={"callbacks": [Fail()]})
    now = {path.name: path.read_bytes() for path in store.run_folder(first["run_id"]).iterdir()}
    assert {name: now.get(name) for name in files} == files
    again = train(store, make_data(data_dir, block_steps=3), rerun=True).record
    assert again["status"] == "finished" and store.record(first["run_id"]) == again != first


def test_resumed_run_is_bit_equal(tmp_path: Path, data_dir: Path) -> None:
    whole = Store(tmp_path / "whole")
    expected = losses(whole, train(whole, make_data(data_dir, block_steps=3, eval_every_steps=7), ADAM))
    store = Store(tmp_path / "cut")
    for blocks in (4, 2):
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(
                store,
                make_data(data_dir, block_steps=3, eval_every_steps=7),
                ADAM,
                trainer={"callbacks": [Stop(blocks)]},
                checkpoint_seconds=0,
            )
        (record,) = store.records()
        assert record["status"] == "interrupted" and 0 < record["steps_done"] < 40
    outcome = train(store, make_data(data_dir, block_steps=3, eval_every_steps=7), ADAM, checkpoint_seconds=0)
    assert outcome.record["status"] == "finished"
    assert losses(store, outcome) == expected
    evaluated = [c for c in store.curves(outcome.record["run_id"])["val/loss"].to_pylist() if c is not None]
    assert len(evaluated) == 6  # after steps 7, 14, 21, 28, 35 and 40
    assert not (store.run_folder(outcome.record["run_id"]) / "checkpoint.ckpt").exists()


def test_steps_per_call_do_not_change_the_numbers(tmp_path: Path, data_dir: Path) -> None:
    runs = {}
    for block_steps in (1, 7, 40):
        store = Store(tmp_path / str(block_steps))
        runs[block_steps] = losses(store, train(store, make_data(data_dir, block_steps=block_steps)))
    assert runs[1] == runs[7] == runs[40]


def test_steps_per_call_do_not_change_the_numbers_under_autocast(tmp_path: Path, data_dir: Path) -> None:
    runs = {}
    for block_steps in (1, 8):
        store = Store(tmp_path / str(block_steps))
        outcome = train(store, make_data(data_dir, block_steps=block_steps), trainer={"precision": "bf16-mixed"})
        runs[block_steps] = losses(store, outcome)
    assert runs[1] == runs[8]
    assert runs[1][-1] < runs[1][0] - 1


def test_divergence_is_a_result(tmp_path: Path, data_dir: Path) -> None:
    store = Store(tmp_path)
    wild = {"name": "sgd", "lr": 1e30, "momentum": 0.9}
    outcome = train(store, make_data(data_dir), wild, model={"clip_norm": None})
    record = outcome.record
    assert record["status"] == "diverged" and record["final"] == {}
    values = losses(store, outcome)
    assert record["diverged_at"] == len(values) - 1 < 39
    assert not math.isfinite(values[-1]) and all(map(math.isfinite, values[:-1]))
    assert not train(store, make_data(data_dir), wild, model={"clip_norm": None}).trained


def test_initial_weights_and_batches_do_not_depend_on_the_optimizer(data_dir: Path) -> None:
    data = make_data(data_dir)
    data.ensure_open()
    states = []
    for optimizer in (SGD, ADAM):
        torch.manual_seed(len(states))  # the global state must not matter
        states.append(make_task(optimizer).seeded_network(7, data.facts()).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    other = make_task(SGD).seeded_network(8, data.facts()).state_dict()
    assert not torch.equal(states[0]["embed.weight"], other["embed.weight"])


def test_batches_are_exact_parts_of_one_order() -> None:
    whole = BatchPlan(samples=1000, batch_size=24, steps=100, seed=3)
    for step in (0, 40, 41, 99):
        expected = whole.indices(step).ravel()
        for world_size, micro_batch in ((1, 8), (2, 12), (3, 4), (4, 2)):
            parts = [
                BatchPlan(
                    samples=1000,
                    batch_size=24,
                    steps=100,
                    seed=3,
                    world_size=world_size,
                    micro_batch=micro_batch,
                    rank=r,
                ).indices(step)
                for r in range(world_size)
            ]
            assert all(part.shape == (24 // world_size // micro_batch, micro_batch) for part in parts)
            assert [i for part in parts for i in part.ravel()] == expected.tolist()
    epoch = [i for step in range(41) for i in whole.indices(step).ravel()]
    assert len(set(epoch)) == 41 * 24
    assert whole.indices(41).ravel().tolist() != whole.indices(0).ravel().tolist()


def test_impossible_batches_are_refused_with_all_four_numbers() -> None:
    with pytest.raises(ValueError, match="batch_size 10, micro_batch 4, devices 2, accumulation 1.25"):
        BatchPlan(samples=100, batch_size=10, steps=1, seed=0, world_size=2, micro_batch=4)
    with pytest.raises(ValueError, match="exceed the 5 training samples, got 8"):
        BatchPlan(samples=5, batch_size=8, steps=1, seed=0)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"budget_steps": 11}, 11),
        ({"budget_samples": 45, "budget_steps": None}, 11),
        ({"budget_tokens": 45 * 32 + 31, "budget_steps": None}, 11),
    ],
)
def test_steps_follow_from_the_budget(data_dir: Path, settings: dict[str, Any], steps: int) -> None:
    data = make_data(data_dir, batch_size=4, **settings)
    data.ensure_open()
    assert data.steps == steps


def test_two_budgets_are_refused(data_dir: Path) -> None:
    data = make_data(data_dir, budget_tokens=1e5)
    data.ensure_open()
    with pytest.raises(ValueError, match="one budget, got data.budget_steps=40 and data.budget_tokens=100000"):
        _ = data.steps


def test_a_failed_run_says_why_and_can_be_repeated(tmp_path: Path, data_dir: Path) -> None:
    class Break(Callback):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            raise RuntimeError("the disk fell out")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="the disk fell out"):
        train(store, make_data(data_dir), trainer={"callbacks": [Break()]})
    (record,) = store.records()
    assert record["status"] == "failed" and "the disk fell out" in record["error"]
    assert train(store, make_data(data_dir)).record["status"] == "finished"


class Recorder(Callback):
    """Notes what a callback sees after every step and every evaluation."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []
        self.evaluations: list[tuple[int, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append((trainer.global_step, float(trainer.callback_metrics["train/loss"])))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.evaluations.append((trainer.global_step, float(trainer.callback_metrics["val/loss"])))


def logged(logger: CSVLogger, name: str) -> dict[int, float]:
    """Values of a CSV log by their step."""
    with open(Path(logger.log_dir) / "metrics.csv", encoding="utf-8") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


@pytest.mark.parametrize("watched", [False, True])
def test_loggers_and_callbacks_get_optimizer_steps(watched: bool, tmp_path: Path, data_dir: Path) -> None:
    logger, recorder = CSVLogger(tmp_path / "csv"), Recorder()
    best = ModelCheckpoint(tmp_path / "best", "{step}", "val/loss", save_top_k=-1)
    callbacks = [recorder, LearningRateMonitor(), best] if watched else []
    settings = {"logger": logger, "log_every_n_steps": 1, "callbacks": callbacks, "enable_checkpointing": watched}
    store, data = Store(tmp_path / "runs"), make_data(data_dir, micro_batch=2, block_steps=8, eval_every_steps=15)
    curves = store.curves(train(store, data, ADAM, trainer=settings).record["run_id"])
    losses, rates, evaluated = (curves[name].to_pylist() for name in ("train_loss", "lr", "val/loss"))
    assert logged(logger, "train/loss") == pytest.approx(dict(enumerate(losses)))
    evaluations = {step: value for step, value in enumerate(evaluated) if value is not None}
    assert list(evaluations) == [14, 29, 39] and logged(logger, "val/loss") == pytest.approx(evaluations)
    if watched:
        assert recorder.steps == [(step, pytest.approx(loss)) for step, loss in enumerate(losses, 1)]
        assert recorder.evaluations == [(step + 1, pytest.approx(value)) for step, value in evaluations.items()]
        assert logged(logger, "lr-Adam") == pytest.approx(dict(enumerate(rates)))
        assert {path.name for path in (tmp_path / "best").iterdir()} == {f"step={step}.ckpt" for step in (15, 30, 40)}


def test_evaluation_uses_the_weights_that_the_optimizer_evaluates_at(tmp_path: Path, data_dir: Path) -> None:
    pytest.importorskip("pytorch_optimizer")
    spec = {"name": "schedule_free", "lr": 1e-2}
    store = Store(tmp_path)
    outcome = train(store, make_data(data_dir, budget_steps=30), spec, keep_checkpoint=True)
    (trained,) = (torch.load(path, weights_only=True) for path in store.path.glob("runs/*/*/final.ckpt"))
    data = make_data(data_dir, budget_steps=30)
    data.ensure_open()
    task = make_task(spec)
    task.build_network(data.facts())
    task.load_state_dict(trained["state_dict"], strict=False)
    with torch.no_grad():
        batch = data.gather("val", np.arange(16))
        total, count = task.loss(task(batch), batch)
    assert outcome.record["metrics"]["val/loss"] != pytest.approx((total / count).item(), abs=1e-4)


def test_both_clips_reach_the_gradient(tmp_path: Path, data_dir: Path) -> None:
    plain = losses(Store(tmp_path / "a"), train(Store(tmp_path / "a"), make_data(data_dir)))
    store = Store(tmp_path / "b")
    clipped = losses(store, train(store, make_data(data_dir), model={"clip_norm": 1.0, "clip_coordinate": 1e-4}))
    assert plain[0] == clipped[0] and plain[-1] < clipped[-1] - 0.1


def test_a_loader_of_evaluation_batches_has_a_length(data_dir: Path) -> None:
    data = make_data(data_dir, eval_samples=70)
    data.trainer = make_trainer()
    data.ensure_open()
    loader = data.val_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches) == 3 and sum(map(len, batches)) == 70
