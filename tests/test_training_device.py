"""What a training settles for the machine that it shares with others: cores, memory, precision of products."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_runs import make_data, make_trainer, train
from torch import nn

from suite.execution.worker import Worker
from suite.records import Store
from suite.training.captured_run import CapturedGradients
from suite.training.numerics import uses_tf32
from tasks.imagenet21k.data import ImageNet21kData


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for name in ("SUITE_CORES", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def test_cores_are_shared_by_the_ranks_of_a_machine(
    tmp_path: Path, eight_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path)
    assert data.workers == 8
    data.trainer = SimpleNamespace(num_devices=4)
    assert data.workers == 2
    monkeypatch.setenv("SLURM_PROCID", "1")  # which gives every rank cores of its own
    assert data.workers == 8
    monkeypatch.setenv("SUITE_CORES", "3")  # of a launcher that has several workers here
    assert data.workers == 3
    assert make_data(tmp_path, num_workers=5).workers == 5


def test_images_are_decoded_by_the_ranks_share(tmp_path: Path, eight_cores: None) -> None:
    data = ImageNet21kData(batch_size=4, image_size=16, mixup=0.0, data_dir=str(tmp_path))
    data.ensure_open()
    assert data.reader.threads == 8
    data.trainer = SimpleNamespace(num_devices=4)
    data.setup("fit")
    assert data.reader.threads == 2


def test_tf32_is_off_in_every_training(tmp_path: Path) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    assert uses_tf32()
    train(Store(tmp_path / "runs"), make_data(tmp_path / "data", budget_steps=1))
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32 and not uses_tf32()


@pytest.mark.parametrize("has_gpu", [True, False])
def test_a_waiting_worker_keeps_no_memory_of_a_gpu(has_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    Worker().give_back_memory()
    assert len(emptied) == has_gpu


def test_batches_are_pinned_for_a_gpu_alone(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    data.ensure_open()
    for kind in ("cpu", "cuda"):
        strategy = SimpleNamespace(root_device=torch.device(kind))
        data.trainer = SimpleNamespace(strategy=strategy, world_size=1, global_rank=0, global_step=0)
        assert data.train_dataloader().pin_memory == data.val_dataloader().pin_memory == (kind == "cuda")


def test_gradients_that_are_one_tensor_are_clipped_once() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))

    network = Sum()
    parameters = list(network.parameters())

    def loss(batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        return ((network.first + network.second) * batch).sum(), 1

    def halve(grads: list[torch.Tensor]) -> torch.Tensor:
        torch._foreach_mul_(grads, 0.5)
        return torch.zeros(())

    gradients = CapturedGradients(network, parameters, loss, halve, None, name="a sum")  # type: ignore[arg-type]
    gradients._reached = parameters
    results = gradients._gradients([torch.full((3,), 4.0)])
    assert [grad.tolist() for grad in results["gradient"]] == [[2.0] * 3] * 2


def test_a_trainer_on_this_machine_is_read_as_it_is(tmp_path: Path, eight_cores: None) -> None:
    data = make_data(tmp_path)
    data.trainer = make_trainer()
    assert data.workers == 8
