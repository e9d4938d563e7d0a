"""A training that is ended early, wherever, says where it goes on from, and ends with the same numbers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from full_disks import one_sentence
from lightning.pytorch import Callback
from small_runs import ADAM, make_data, make_task, make_trainer, run_task, run_tasks

from suite.records import Store
from suite.training import Data, Outcome
from suite.training.blocks import BlockCallback
from suite.training.checkpoint import Checkpoint
from suite.training.memory import OutOfMemory
from suite.training.observer import callback_of
from suite.training.stopping import STOP, Interrupted
from tasks.fineweb.gpt import FineWebGPT

EVERY = 7
CONFIG: dict[str, Any] = {"seed_everything": 42, "model": {"init_args": {}}, "data": {"init_args": {}}, "trainer": {}}


class Dropping(FineWebGPT):
    """A network that draws random numbers at every step."""

    def forward(self, batch: Any) -> Any:
        return torch.nn.functional.dropout(super().forward(batch), 0.1, self.training)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def fit(
    store: Store, data: Data, *callbacks: Callback, optimizer: Any = ADAM, rerun: bool = False, **trainer: Any
) -> Outcome:
    """Train the run of these tests, or what is left of it."""
    torch.manual_seed(0)
    task = Dropping(optimizer=optimizer, num_layers=1, num_heads=1, width=16)
    return run_task(
        task, data, make_trainer(callbacks=list(callbacks), **trainer), config=CONFIG, store=store, rerun=rerun
    )


def same(store: Store, whole: Store) -> bool:
    """Whether the stores hold the same numbers of the run, and nothing is left but its record."""
    (got,), (expected,) = (list(s.records()) for s in (store, whole))
    assert got["status"] == expected["status"] == "finished" and got["metrics"] == expected["metrics"]
    folder = store.run_folder(got["run_id"])
    assert {path.name for path in folder.iterdir()} == {"record.json", "curves.parquet"}
    return store.curves(got["run_id"]).equals(whole.curves(expected["run_id"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Store:
    store = Store(tmp_path_factory.mktemp("whole"))
    fit(store, make_data(data_dir, eval_every_steps=EVERY))
    return store


class Do(Callback):
    """Does something in a hook of the training, after some calls of it."""

    def __init__(self, hook: str, calls: int, deed: Callable[[Any], Any]) -> None:
        setattr(self, hook, self.call)
        self.calls = calls
        self.deed = deed

    def call(self, trainer: Any, *rest: Any, **more: Any) -> None:
        self.calls -= 1
        if self.calls == 0:
            self.deed(trainer)


def raised(number: int) -> Callable[[Any], None]:
    return lambda trainer: signal.raise_signal(number)


MOMENTS = {
    "before the first step": ("on_train_start", 1),
    "before a step": ("on_train_batch_start", 3),
    "after a step": ("on_train_batch_end", 5),
    "after a step that an evaluation follows": ("on_train_batch_end", EVERY),
    "at the start of an evaluation": ("on_validation_start", 2),
    "in an evaluation": ("on_validation_batch_end", 2),
    "after an evaluation": ("on_validation_end", 3),
    "before the last evaluation": ("on_train_batch_end", 40),
    "in the last evaluation": ("on_validation_batch_start", 6),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_run_that_then_ends_with_the_same_numbers(
    moment: str, number: signal.Signals, tmp_path: Path, data_dir: Path, whole: Store
) -> None:
    store, (hook, calls) = Store(tmp_path), MOMENTS[moment]
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        fit(store, make_data(data_dir, eval_every_steps=EVERY, eval_samples=16), Do(hook, calls, raised(number)))
    assert caught.value.number == number and not STOP.is_set and signal.getsignal(number) == before
    (record,) = store.records()
    assert record["status"] == "interrupted"
    sentence = one_sentence(caught.value)
    assert sentence.startswith(f"Ended by {number.name} after {record['steps_done']} of 40 steps; the same command")
    assert sentence.endswith(f"{store.run_folder(record['run_id']) / 'checkpoint.ckpt'}.")
    fit(store, make_data(data_dir, eval_every_steps=EVERY))
    assert same(store, whole)


def test_a_run_may_be_ended_again_and_again(tmp_path: Path, data_dir: Path, whole: Store) -> None:
    store = Store(tmp_path)
    for _ in range(60):
        try:
            fit(store, make_data(data_dir, eval_every_steps=EVERY), Do("on_train_batch_end", 1, raised(signal.SIGTERM)))
            break
        except Interrupted:
            continue
    assert same(store, whole)


class Seen(BlockCallback):
    """Sends a signal some time after the first checkpoint."""

    def __init__(self) -> None:
        self.saved = 0
        self.sent = 0.0

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        before, self.saved = self.saved, callback_of(trainer, Checkpoint).saved_at or 0
        if self.saved and not before:
            threading.Timer(0.7, self.send).start()

    def send(self) -> None:
        self.sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("block_steps", [None, 100_000])
def test_no_block_is_too_long_for_a_checkpoint_or_a_signal(
    block_steps: int | None, tmp_path: Path, data_dir: Path
) -> None:
    store, seen = Store(tmp_path), Seen()
    data = make_data(data_dir, budget_steps=1_000_000, block_steps=block_steps)
    trainer = make_trainer(callbacks=[seen])
    with pytest.raises(Interrupted):
        run_task(make_task(ADAM), data, trainer, config=CONFIG, store=store, checkpoint_seconds=0.5)
    assert time.monotonic() - seen.sent < 10
    (record,) = store.records()
    assert 0 < seen.saved < record["steps_done"] < 1_000_000


class Enough(Callback):
    """Stops the trainer as callbacks do, in a hook of its own choice."""

    def __init__(self, hook: str, calls: int) -> None:
        def deed(*rest: Any, **more: Any) -> None:
            self.calls -= 1
            if self.calls == 0:
                self.stopped.should_stop = True

        self.calls = calls
        setattr(self, hook, deed)

    def setup(self, trainer: Any, *rest: Any, **more: Any) -> None:
        self.stopped = trainer


@pytest.mark.parametrize(
    ("hook", "calls"),
    [("on_train_batch_start", 5), ("on_train_batch_end", 5), ("on_train_batch_end", EVERY), ("on_validation_end", 2)],
)
def test_a_callback_that_stops_the_trainer_leaves_a_checkpoint(
    hook: str, calls: int, tmp_path: Path, data_dir: Path, whole: Store
) -> None:
    store = Store(tmp_path)
    outcome = fit(store, make_data(data_dir, eval_every_steps=EVERY), Enough(hook, calls))
    assert outcome.record["status"] == "interrupted" and 0 < outcome.record["steps_done"] < 40
    assert "the same command goes on from the checkpoint" in outcome.ended_early
    fit(store, make_data(data_dir, eval_every_steps=EVERY))
    assert same(store, whole)


def test_a_time_limit_is_one_of_each_call(tmp_path: Path, data_dir: Path, whole: Store) -> None:
    class Slow(BlockCallback):
        def on_train_batch_end(self, *rest: Any) -> None:
            time.sleep(0.1)

    store, steps = Store(tmp_path), []
    for _ in range(2):
        outcome = fit(store, make_data(data_dir, eval_every_steps=EVERY), Slow(), max_time={"seconds": 0.05})
        steps.append(outcome.record["steps_done"])
    assert 0 < steps[0] < steps[1] < 40
    fit(store, make_data(data_dir, eval_every_steps=EVERY))
    assert same(store, whole)


def test_what_an_optimizer_evaluates_at_is_not_what_a_checkpoint_trains_on_from(tmp_path: Path, data_dir: Path) -> None:
    pytest.importorskip("pytorch_optimizer")
    spec = {"name": "schedule_free", "lr": 1e-2}
    expected, store = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    fit(expected, make_data(data_dir, eval_every_steps=EVERY), optimizer=spec)
    with pytest.raises(Interrupted):
        late = Do("on_validation_end", 2, raised(signal.SIGTERM))
        fit(store, make_data(data_dir, eval_every_steps=EVERY), late, optimizer=spec)
    fit(store, make_data(data_dir, eval_every_steps=EVERY), optimizer=spec)
    assert same(store, expected)


def test_a_pack_is_ended_and_goes_on_like_a_run(tmp_path: Path, data_dir: Path) -> None:
    specs = [{**ADAM, "lr": lr} for lr in (1e-3, 1e-2)]
    configs = [{**CONFIG, "model": {"init_args": {"optimizer": spec}}} for spec in specs]

    def pack(store: Store, *callbacks: Callback) -> list[Any]:
        data = make_data(data_dir, eval_every_steps=EVERY)
        tasks = [make_task(spec) for spec in specs]
        trainer = make_trainer(callbacks=list(callbacks))
        return [o.record for o in run_tasks(tasks, data, trainer, configs=configs, store=store)]

    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    expected = pack(whole)
    for hook, calls in (("on_train_batch_end", 5), ("on_validation_batch_start", 1)):
        with pytest.raises(Interrupted, match="after 5 of 40|after 7 of 40"):
            pack(cut, Do(hook, calls, raised(signal.SIGTERM)))
        assert [record["status"] for record in cut.records()] == ["interrupted"] * 2
    got = pack(cut)
    assert [record["final"] for record in got] == [record["final"] for record in expected]
    assert all(cut.curves(r["run_id"]).equals(whole.curves(r["run_id"])) for r in expected)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_runs_out_is_a_sentence_and_loses_nothing(
    error: Exception, tmp_path: Path, data_dir: Path, whole: Store
) -> None:
    def fail(trainer: Any) -> None:
        raise error

    store = Store(tmp_path)
    with pytest.raises(Interrupted):
        fit(store, make_data(data_dir, eval_every_steps=EVERY), Do("on_train_batch_end", 9, raised(signal.SIGTERM)))
    with pytest.raises(OutOfMemory) as caught:
        fit(store, make_data(data_dir, eval_every_steps=EVERY), Do("on_train_batch_end", 4, fail))
    assert "set data.micro_batch below 4, which changes no result" in one_sentence(caught.value)
    (record,) = store.records()
    assert record["status"] == "failed" and (store.run_folder(record["run_id"]) / "checkpoint.ckpt").exists()
    fit(store, make_data(data_dir, eval_every_steps=EVERY))
    assert same(store, whole)


def test_a_run_again_goes_on_too_and_keeps_the_result_until_it_has_its_own(tmp_path: Path, data_dir: Path) -> None:
    store = Store(tmp_path)
    first = fit(store, make_data(data_dir)).record
    for calls, steps in ((9, 9), (11, 20)):
        with pytest.raises(Interrupted, match=f"after {steps} of 40 steps"):
            fit(store, make_data(data_dir), Do("on_train_batch_end", calls, raised(signal.SIGTERM)), rerun=True)
        assert store.record(first["run_id"]) == first
    assert fit(store, make_data(data_dir), rerun=True).record["final"] == first["final"]
    assert not list(tmp_path.rglob("checkpoint.ckpt")) and store.record(first["run_id"]) != first


def test_every_rank_gets_its_own_random_states_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its GPU too; the states of two ranks are in the one checkpoint that the first of them writes."""
    of_gpu = {0: torch.tensor([0], dtype=torch.uint8), 1: torch.tensor([1], dtype=torch.uint8)}
    asked_for: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: of_gpu[device.index])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: asked_for.append((state, device)))

    def trainer_of(rank: int) -> Any:
        strategy = SimpleNamespace(
            root_device=torch.device("cuda", rank), reduce_boolean_decision=lambda *_, **__: False
        )
        return SimpleNamespace(strategy=strategy, world_size=2, global_rank=rank, max_steps=9)

    drawn, states = {}, {}
    for rank in range(2):
        torch.manual_seed(rank)
        checkpoint = Checkpoint(tmp_path / "c", None)
        checkpoint.on_train_start(trainer_of(rank), None)  # type: ignore[arg-type]
        states[rank] = checkpoint._states()
        drawn[rank] = torch.rand(3)

    def gather(into: list[Any], mine: Any) -> None:
        into[:] = [states[0], states[1]]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    steps = {"epoch_loop.manual_optimization.optim_step_progress": {"total": {"completed": 3}}}
    written: dict[str, Any] = {"loops": {"fit_loop": steps}, "callbacks": {}}
    checkpoint.on_save_checkpoint(trainer_of(0), None, written)  # type: ignore[arg-type]
    torch.save(written, tmp_path / "written.ckpt")
    read = torch.load(tmp_path / "written.ckpt", weights_only=True)
    for rank in range(2):
        torch.manual_seed(99)
        resumed = Checkpoint(tmp_path / "c", None)
        resumed.on_load_checkpoint(trainer_of(rank), None, read)  # type: ignore[arg-type]
        resumed.on_train_start(trainer_of(rank), None)  # type: ignore[arg-type]
        assert torch.equal(torch.rand(3), drawn[rank])
        state, device = asked_for[-1]
        assert torch.equal(state, of_gpu[rank]) and device.index == rank
