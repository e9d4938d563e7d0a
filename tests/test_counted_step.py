"""What a step takes is counted before it is taken: as much as it really takes."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from small_runs import make_task
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from suite.training.counted_step import CountedStep, counted_step

FACTS = {"vocab_size": 256, "seq_len": 32}
CPU = torch.device("cpu")


def counted(samples: int, optimizer: dict[str, Any], micro_batches: int = 1, precision: str = "32-true") -> CountedStep:
    batches = [torch.zeros(samples, 33, dtype=torch.int64) for _ in range(micro_batches)]
    return counted_step(make_task(optimizer), FACTS, batches, device=CPU, precision=precision)


class Alive(TorchDispatchMode):
    """The bytes of real tensors, added up by another way: all storages alive are looked at after every operator."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._storages: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.look, outputs)
        alive = {ref().data_ptr(): ref().nbytes() for ref in self._storages.values() if ref() is not None}
        self.peak = max(self.peak, sum(alive.values()))
        return outputs

    def look(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._storages[id(storage)] = weakref.ref(storage)


def test_the_count_is_what_a_real_step_takes() -> None:
    task = make_task({"name": "adam", "lr": 1e-3})
    batch = torch.zeros(8, 33, dtype=torch.int64)
    gc.collect()
    with Alive() as alive:
        alive.look(batch)
        task.network = task.make_network(FACTS)
        for tensor in [*task.network.parameters(), *task.network.buffers()]:
            alive.look(tensor)
        optimizer = task.configure_optimizers()
        for _ in range(2):
            alive.peak = 0
            total, count = task.loss(task(batch), batch)
            (total / count).backward()
            del total
            task.clipping([p.grad for p in task.network.parameters() if p.grad is not None])
            optimizer.step()
            optimizer.zero_grad()
    task.network = None
    assert counted(8, {"name": "adam", "lr": 1e-3}).peak == pytest.approx(alive.peak, rel=0.1)


def test_the_count_follows_samples_state_and_micro_batches() -> None:
    adam, sgd = {"name": "adam", "lr": 1e-3}, {"name": "sgd", "lr": 0.1}
    parameters = 4 * sum(p.numel() for p in make_task().make_network(FACTS).parameters())
    assert 0 <= counted(1, adam).held - counted(1, sgd).held - 2 * parameters < 64 * 1024  # rounded up per tensor
    small, large = (counted(samples, sgd).peak for samples in (64, 128))
    smaller = counted(32, sgd).peak
    assert large - small == pytest.approx(2 * (small - smaller), rel=0.05)
    once, often = counted(32, adam), counted(32, adam, micro_batches=4)
    assert (
        once.peak < often.peak < once.peak + parameters + 4 * 33 * 32 * 8 + 2**16
    )  # gradients wait, batches lie there
    assert once.calls < often.calls < 4 * once.calls  # the update is taken once


def test_a_second_gradient_counts() -> None:
    sophia, twin = ({"name": name, "lr": 1e-3, "every": 3} for name in ("sophia", "sophia_ef"))
    parameters = 4 * sum(p.numel() for p in make_task().make_network(FACTS).parameters())
    once, twice = counted(8, twin), counted(8, sophia)
    assert twice.held == once.held and twice.peak >= once.peak + parameters
    assert 1.5 * once.calls < twice.calls < 3 * once.calls


def test_half_precision_keeps_less() -> None:
    adam = {"name": "adam", "lr": 1e-3}
    half, whole = (counted(256, adam, precision=precision).peak for precision in ("bf16-mixed", "32-true"))
    assert half < whole, (half, whole)
    with pytest.raises(ValueError, match="in bf16-mixed or 32-true, not in 64-true; change trainer.precision"):
        counted(1, adam, precision="64-true")
