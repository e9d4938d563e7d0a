"""The second gradient that rules such as Sophia need on some steps, with labels drawn from the network's predictions.

What is drawn is a function of the run's seed, the step and a sample's place in the batch. Nothing is left but the
gradient: the random state and BatchNorm's running statistics are what they were.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from suite.optim import CompositeOptimizer, RuleOptimizer
from suite.training.undisturbed import undisturbed

_STREAM = zlib.crc32(b"drawn labels")

_WORDS = 4
"""Random words per count of Philox's counter."""


class DrawsLabels(Protocol):
    """What a task has for it; see `suite.training.task.Task`."""

    network: nn.Module | None
    seed: int

    def element_classes(self, batch: Any) -> Tensor:
        """The true classes of all predictions in a batch, of which the shape counts."""

    def sampled_inputs(self, batch: Any, uniforms: Tensor) -> tuple[Any, ...]:
        """What the network takes."""

    def sampled_loss(self, outputs: Any, batch: Any, uniforms: Tensor) -> tuple[Tensor, int]:
        """The summed loss on drawn labels, and its number of terms."""


def backward_on_drawn_labels(
    task: DrawsLabels,
    micro_batches: Sequence[Any],
    *,
    step: int,
    rank: int = 0,
    backward: Callable[[Tensor], None] = Tensor.backward,
    synchronised: Callable[[bool], AbstractContextManager[Any]] = lambda last: contextlib.nullcontext(),
) -> int:
    """Add to the parameters' gradients that of the mean loss with labels drawn from the network's predictions.

    Args:
        task: with its network.
        micro_batches: this device's of the step.
        step: 0-based; with the run's seed it decides what is drawn.
        rank: of this device.
        backward: takes the backward pass of a loss.
        synchronised: a context for the passes of a micro-batch, given whether it is this device's last.

    Returns:
        The number of predictions in these micro-batches.
    """
    assert task.network is not None
    device = next(task.network.parameters()).device
    terms = 0
    with second_pass(task.network, task.seed, step, rank):
        for i, batch in enumerate(micro_batches):
            number, shape = rank * len(micro_batches) + i, task.element_classes(batch).shape
            uniforms = sent(label_uniforms(task.seed, step, number, shape), device)
            with synchronised(i == len(micro_batches) - 1):
                outputs = task.network(*task.sampled_inputs(batch, uniforms))
                total, count = task.sampled_loss(outputs, batch, uniforms)
                backward(total / (count * len(micro_batches)))
            terms += count
    return terms


def give_sampled_gradient(task: DrawsLabels, optimizer: Any, micro_batches: Sequence[Any], *, step: int) -> None:
    """Give an optimizer on one device the sampled gradient, where its next step needs it.

    Args:
        task: with its network, whose parameters hold no gradients.
        optimizer: any.
        micro_batches: of the step.
        step: 0-based.
    """
    if isinstance(optimizer, RuleOptimizer | CompositeOptimizer) and optimizer.needs_sampled_gradient():
        optimizer.keep_sampled_gradient(terms=backward_on_drawn_labels(task, micro_batches, step=step))


def label_uniforms(seed: int, step: int, number: int, shape: Sequence[int]) -> np.ndarray:
    """The uniform numbers by which the labels of one micro-batch are drawn.

    Micro-batches of one size take consecutive stretches of the step's numbers, so that a sample has the same number
    however the batch is cut over devices and accumulation.

    Args:
        seed: of the run.
        step: 0-based.
        number: of the micro-batch in the step, over all devices: those of the first device come first.
        shape: of its predictions.

    Returns:
        In (0, 1), float64, of that shape.
    """
    size = int(np.prod(shape))
    count, skipped = divmod(number * size, _WORDS)
    generator = np.random.Philox(key=[seed, _STREAM], counter=[count, step, 0, 0])
    words = generator.random_raw(skipped + size)[skipped:]
    # 53 bits, in the middle of their cells.
    return (((words >> np.uint64(11)) + 0.5) * 2.0**-53).reshape(tuple(shape))


def sent(numbers: np.ndarray, device: torch.device) -> Tensor:
    """Numbers on a device, sent from memory that the host need not wait for."""
    here = torch.from_numpy(numbers)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here.to(device)


@contextlib.contextmanager
def second_pass(network: nn.Module, seed: int, step: int, rank: int = 0) -> Iterator[None]:
    """A context for the passes on drawn labels, whose dropout masks depend on the arguments alone.

    Args:
        network: its running statistics, and the random states, are restored at the end.
        seed: of the run.
        step: 0-based.
        rank: of this device.
    """
    with undisturbed(network, full_precision=False):
        masks = np.random.SeedSequence([seed, step, rank, _STREAM]).generate_state(1, np.uint64)
        torch.manual_seed(int(masks[0] >> 1))
        yield
