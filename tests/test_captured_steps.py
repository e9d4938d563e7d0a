"""Steps that are repeated from a recording: when they are, and that their numbers are those of plain steps.

A GPU's recording is replaced by one that does the work again (`pretended_capture`); what a GPU alone can show is
listed in docs/gpu.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from pretended_capture import PretendedCapture
from small_packs import SPECS, curve, pack
from small_runs import ADAM, make_data, make_trainer, run_task, train
from torch import Tensor

from suite.records import Store
from suite.training import Task
from suite.training.captured_step import (
    MOST_SHAPES,
    TIMED,
    TRIALS,
    WARM_UP,
    CapturedStep,
    CudaCapture,
    capture_of,
)  # fmt: skip
from tasks.fineweb.gpt import FineWebGPT
from tasks.imagenet21k.data import ImageNet21kData
from tasks.imagenet21k.resnet20 import ImageNet21kResNet20
from tasks.zinc.data import Zinc

BEFORE = WARM_UP + TIMED + TRIALS
"""Steps of a shape that are taken plainly at least."""

STEPS = 24


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PretendedCapture]:
    """Have all trainings use a pretended capture from now on."""

    def use(**settings: Any) -> PretendedCapture:
        capture = PretendedCapture(**settings)
        for module in ("suite.training.task", "suite.packs.packed_task"):
            monkeypatch.setattr(f"{module}.capture_of", lambda trainer: capture)
        return capture

    return use


# Whole trainings.


@pytest.mark.parametrize("settings", [{}, {"batch_size": 8, "micro_batch": 2}], ids=["whole batches", "accumulation"])
def test_a_run_of_repeated_steps_has_the_numbers_of_plain_ones(
    settings: dict[str, Any], use: Any, tmp_path: Path, data_dir: Path
) -> None:
    curves = []
    for launching in (0.0, 0.9):
        capture = use(launching=launching)
        store = Store(tmp_path / str(launching))
        data = make_data(data_dir, budget_steps=STEPS, eval_every_steps=5, **settings)
        outcome = train(store, data, ADAM, trainer={"precision": "bf16-mixed"})
        curves.append(store.curves(outcome.record["run_id"]))
    assert capture.recordings == 1 and capture.repetitions == STEPS - BEFORE + TRIALS
    plain, repeated = curves
    for column in ("train_loss", "grad_norm"):
        assert repeated[column].to_pylist() == pytest.approx(plain[column].to_pylist(), rel=2e-2)
    assert repeated["train_loss"].to_pylist()[:BEFORE] == plain["train_loss"].to_pylist()[:BEFORE]


def gat(spec: dict[str, Any]) -> Task:
    from tasks.zinc.gat import ZincGAT

    return ZincGAT(optimizer=spec, num_layers=2, width=16, num_heads=2)


NETWORKS = {
    "batches of varying shapes": (
        gat,
        lambda folder: Zinc(batch_size=4, budget_steps=60, max_molecules=200, data_dir=folder, eval_samples=8),
    ),
    "running statistics": (
        lambda spec: ImageNet21kResNet20(optimizer=spec, blocks_per_stage=1),
        lambda folder: ImageNet21kData(
            batch_size=8, micro_batch=4, budget_steps=STEPS, mixup=0.0, image_size=32, data_dir=folder, eval_samples=8
        ),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_buffers_and_many_shapes_keep_their_numbers(
    name: str, use: Any, tmp_path: Path, data_dir: Path
) -> None:
    for library in ("PIL", "rdkit", "torch_geometric"):  # which make the samples and the network
        pytest.importorskip(library)
    make_task, data_of = NETWORKS[name]
    config: dict[str, Any] = {"seed_everything": 1, "model": {"init_args": {}}, "data": {"init_args": {}}}
    records, curves = [], []
    for launching in (0.0, 0.9):
        capture = use(launching=launching)
        store = Store(tmp_path / str(launching))
        outcome = run_task(make_task(ADAM), data_of(str(data_dir)), make_trainer(), config=config, store=store)
        records.append(outcome.record)
        curves.append(store.curves(outcome.record["run_id"])["train_loss"].to_pylist())
    assert capture.recordings in (1, 2) and capture.repetitions > STEPS // 2
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    assert records[1]["metrics"] == pytest.approx(records[0]["metrics"], rel=1e-4)


@pytest.mark.parametrize("steps", ["plain", "recorded"])
@pytest.mark.parametrize("name", ["adam", "sgd", "quantile clip", "hybrid"])
def test_a_pack_of_repeated_steps_has_the_numbers_of_plain_ones(
    name: str, steps: Any, use: Any, tmp_path: Path, data_dir: Path
) -> None:
    stores = []
    for launching in (0.0, 0.9):
        capture = use(launching=launching)
        store = Store(tmp_path / str(launching))
        stores.append((store, pack(store, make_data(data_dir, budget_steps=STEPS), SPECS[name], steps=steps)))
    assert capture.recordings == 1 and capture.repetitions == STEPS - 1 - BEFORE + TRIALS  # the first step is plain
    for plain, repeated in zip(*(outcomes for _, outcomes in stores), strict=True):
        expected, got = curve(stores[0][0], plain), curve(stores[1][0], repeated)
        assert got == pytest.approx(expected, rel=1e-4)


class Dropping(FineWebGPT):
    """A network that draws random numbers at every step."""

    def forward(self, batch: Any) -> Any:
        return torch.nn.functional.dropout(super().forward(batch), 0.1, self.training)


def test_repeated_steps_draw_the_random_numbers_of_plain_ones(use: Any, tmp_path: Path, data_dir: Path) -> None:
    config: dict[str, Any] = {"seed_everything": 1, "model": {"init_args": {}}, "data": {"init_args": {}}}
    curves = []
    for launching in (0.0, 0.9):
        capture, store = use(launching=launching), Store(tmp_path / str(launching))
        torch.manual_seed(7)
        task = Dropping(optimizer=ADAM, num_layers=1, num_heads=1, width=16, loss_chunk=None)
        data = make_data(data_dir, budget_steps=STEPS)
        outcome = run_task(task, data, make_trainer(), config=config, store=store)
        curves.append(curve(store, outcome).tolist())
    assert capture.repetitions > TRIALS
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)


PLANTED: dict[str, dict[str, Any]] = {
    "a loss": {"spoil": lambda results: results["loss"][0].mul_(1.001)},
    "a norm": {"spoil": lambda results: results["norm"][0].mul_(1.001)},
    "one gradient": {"spoil": lambda results: results.get("gradient", results["loss"])[0].add_(0.01)},
    "another batch": {"is_stale": True},
}


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("kind", ["run", "pack"])
def test_a_planted_difference_is_seen_and_the_plain_numbers_count(
    kind: str, planted: str, use: Any, tmp_path: Path, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curves = []
    for name, settings in (("plain", {"launching": 0.0}), ("spoiled", PLANTED[planted])):
        capture, store = use(**settings), Store(tmp_path / name)
        data = make_data(data_dir, budget_steps=STEPS)
        with caplog.at_level(logging.WARNING, "suite.training.captured_step"):
            outcomes = pack(store, data, SPECS["adam"], steps="plain") if kind == "pack" else [train(store, data, ADAM)]
        curves.append([curve(store, outcome).tolist() for outcome in outcomes])
    assert curves[0] == curves[1]
    assert capture.recordings == 1 and 1 <= capture.repetitions <= TRIALS
    (message,) = [record.getMessage() for record in caplog.records if "recording" in record.getMessage()]
    assert "launched kernel by kernel, not from a recording: its" in message and "rounding explains" in message


def test_a_step_may_be_kept_from_being_recorded(use: Any, tmp_path: Path, data_dir: Path) -> None:
    capture = use()
    train(Store(tmp_path), make_data(data_dir, budget_steps=STEPS), model={"cuda_graphs": False})
    assert capture.recordings == 0


# The decision.


class Counter:
    """A step that adds its argument to a tensor; it counts how often it is taken plainly."""

    def __init__(self, **settings: Any) -> None:
        self.total = torch.zeros(3)
        self.plain_steps = 0
        self.capture = PretendedCapture(**settings)
        self.step = CapturedStep(self.add, lambda: ([self.total], [self.total]), self.capture, name="a counter")

    def add(self, number: Tensor, factor: int = 1) -> dict[str, list[Tensor]]:
        self.total += number * factor
        return {"total": [self.total.clone()]}

    def take(self, number: Tensor, factor: int = 1) -> Tensor:
        def plain() -> dict[str, list[Tensor]]:
            self.plain_steps += 1
            return self.add(number, factor)

        return self.step(plain, number, factor)["total"][0].clone()


def test_every_step_counts_once(caplog: pytest.LogCaptureFixture) -> None:
    counter = Counter()
    for number in range(1, 20):
        assert counter.take(torch.full((3,), float(number))).tolist() == [sum(range(number + 1))] * 3
    assert counter.step.repeated == 19 - BEFORE and counter.plain_steps == BEFORE + TRIALS
    assert not caplog.records


@pytest.mark.parametrize(
    ("settings", "recordings", "why"),
    [
        ({"launching": 0.4}, 0, "launching takes 40% of its time"),
        ({"repeated": 0.95}, 1, "repeating is no faster"),
        ({"error": RuntimeError("operation not permitted\nmore")}, 0, "cannot be recorded (operation not permitted)"),
        ({"error": torch.OutOfMemoryError("out of memory")}, 0, "cannot be recorded (out of memory)"),
    ],
)
def test_steps_are_plain_where_a_recording_does_not_pay(
    settings: dict[str, Any], recordings: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    counter = Counter(**settings)
    with caplog.at_level(logging.DEBUG, "suite.training.captured_step"):
        for number in range(1, 20):
            assert counter.take(torch.full((3,), float(number))).tolist() == [sum(range(number + 1))] * 3
    assert counter.capture.recordings == recordings and counter.step.repeated == 0 and not counter.step.wanted
    (record,) = caplog.records
    assert why in record.getMessage()


def test_a_shortage_of_memory_in_a_trial_loses_no_step() -> None:
    counter = Counter()

    def fail(results: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    counter.capture.spoil = fail
    for number in range(1, 20):
        assert counter.take(torch.ones(3)).tolist() == [number] * 3
    assert counter.step.repeated == 0 and not counter.step.wanted


def test_shapes_and_other_arguments_have_recordings_of_their_own() -> None:
    counter = Counter()
    for _ in range(BEFORE + 2):
        counter.take(torch.ones(3))
        counter.take(torch.ones(1))
        counter.take(torch.ones(3), 2)
    assert counter.capture.recordings == 3 and counter.step.repeated == 6
    assert counter.total.tolist() == [4 * (BEFORE + 2)] * 3


def test_many_shapes_end_the_recording() -> None:
    counter = Counter()
    for factor in range(MOST_SHAPES + 2):
        for _ in range(BEFORE + 1):
            counter.take(torch.ones(3), factor)
    assert not counter.step.wanted and counter.step.repeated == MOST_SHAPES


def test_tensors_that_moved_are_recorded_anew() -> None:
    counter = Counter()
    for _ in range(BEFORE + 2):
        counter.take(torch.ones(3))
    assert counter.step.repeated == 2
    counter.total = counter.total.clone()
    for _ in range(BEFORE + 2):
        counter.take(torch.ones(3))
    assert counter.step.repeated == 4 and counter.total.tolist() == [2 * (BEFORE + 2)] * 3


def test_only_the_steps_of_one_gpu_are_recorded() -> None:
    class Between(Callback):
        def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
            """Looks at every gradient."""

    def trainer_of(kind: str, devices: int = 1, scaler: Any = None, callbacks: tuple[Callback, ...] = ()) -> Any:
        return SimpleNamespace(
            strategy=SimpleNamespace(root_device=torch.device(kind)), world_size=devices, callbacks=callbacks,
            precision_plugin=SimpleNamespace(scaler=scaler),
        )  # fmt: skip

    assert isinstance(capture_of(trainer_of("cuda")), CudaCapture)
    assert capture_of(trainer_of("cpu")) is None
    assert capture_of(trainer_of("cuda", devices=2)) is None
    assert capture_of(trainer_of("cuda", scaler=object())) is None
    assert capture_of(trainer_of("cuda", callbacks=(Between(),))) is None
