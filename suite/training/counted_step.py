"""The memory that a training step takes on a device, counted with fake tensors, which have sizes and no numbers.

What is counted is the step itself: forward and backward passes of its micro-batches, clipping and the optimizer's
update, with the types that autocast gives. Not counted are the allocator's unused rests, the CUDA context, and what
libraries take for themselves. `suite.training.footprint` gives a lower bound of this in a hundredth of the time.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from suite.training.footprint import FusedAttention, network_on_meta
from suite.training.sampled_gradient import give_sampled_gradient
from suite.training.task import Task

_ROUNDED_TO = 512
"""Bytes to whose multiples CUDA's allocator rounds a tensor's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountedStep:
    """What a step takes.

    Attributes:
        peak: most bytes in use at once.
        held: bytes in use between steps: weights, optimizer's state and the batch.
        calls: operators called, of which each is a kernel or two, or a view.
    """

    peak: int
    held: int
    calls: int


def counted_step(
    task: Task,
    facts: dict[str, Any],
    micro_batches: Sequence[Any],
    *,
    device: torch.device,
    precision: str,
) -> CountedStep:
    """Count what a later step of a run takes, when the optimizer has its state.

    Args:
        task: with an optimizer; its network is not touched.
        facts: sizes of the data, of which the network is made.
        micro_batches: those of the step, as the data give them.
        device: where the step is pretended to be taken; CUDA needs a device, or one that is pretended.
        precision: the trainer's, ``bf16-mixed`` or ``32-true``.

    Raises:
        ValueError: another precision, or a network that cannot be made without numbers.
    """
    before = task.network
    network = network_on_meta(task, facts)
    if network is None:
        raise ValueError(f"The network of {task.pair_name} is made of numbers, so its steps cannot be counted.")
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    without_numbers = tree_map_only(Tensor, fake.from_tensor, list(micro_batches))
    with fake, _Memory(device) as memory, FusedAttention():
        try:
            task.network = network.to_empty(device=device)
            batches = [move_data_to_device(batch, device) for batch in without_numbers]
            optimizer = task.configure_optimizers()
            every = 0 if task.optimizer_config is None else task.optimizer_config.sampled_every
            for _ in range(1 + max(1, every)):  # the last takes a second gradient where any does
                held, calls = memory.live, memory.calls
                memory.peak = held
                _step(task, batches, optimizer, autocast=_autocast(precision, device))
            return CountedStep(peak=memory.peak, held=held, calls=memory.calls - calls)
        finally:
            task.network = before


def _step(
    task: Task, batches: Sequence[Any], optimizer: torch.optim.Optimizer, *, autocast: AbstractContextManager[Any]
) -> None:
    """As `Task.training_step` does, without Lightning."""
    assert task.network is not None
    share = 1 / len(batches)
    with autocast:
        give_sampled_gradient(task, optimizer, batches, step=0)
        for batch in batches:
            total, count = task.loss(task(batch), batch)
            loss = total * (share / count)
            del total
            loss.backward()
            del loss
        task.clipping([p.grad for p in task.network.parameters() if p.grad is not None])
        optimizer.step()
        optimizer.zero_grad()


def _autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    if precision == "32-true":
        return nullcontext()
    if precision == "bf16-mixed":  # as Lightning does
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)
    raise ValueError(f"A step is counted in bf16-mixed or 32-true, not in {precision}; change trainer.precision.")


class _Memory(TorchDispatchMode):
    """Adds up the bytes of the storages on a device that are alive.

    Attributes:
        live: bytes now.
        peak: most so far.
        calls: number of operators called.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.live = self.peak = self.calls = 0
        self._device = device.type
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operator and take note of what it returns."""
        self.calls += 1
        outputs = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._note, outputs)
        return outputs

    def _note(self, tensor: Tensor) -> None:
        if tensor.device.type != self._device:
            return
        storage = tensor.untyped_storage()
        number = id(storage)
        if number in self._alive:
            return
        size = -(-storage.nbytes() // _ROUNDED_TO) * _ROUNDED_TO

        def freed(_: Any) -> None:
            del self._alive[number]
            self.live -= size

        self._alive[number] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)
