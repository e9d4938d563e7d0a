"""The random numbers of a run's sampled gradients: functions of its seed, the step and a sample's place in the batch.

A rule such as Sophia's needs a second gradient on some steps, with labels drawn from the network's own predictions; see
`suite.optim.OptimizerConfig`. It leaves no trace beside itself: not in the global random state, and not in BatchNorm's
running statistics.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from suite.training.undisturbed import undisturbed

_STREAM = zlib.crc32(b"drawn labels")

_WORDS = 4
"""Random words per count of Philox's counter."""


def label_uniforms(seed: int, step: int, number: int, shape: Sequence[int]) -> Tensor:
    """The uniform numbers by which the labels of one micro-batch are drawn.

    Micro-batches of one size take consecutive stretches of the step's numbers, so that a sample has the same number
    however the batch is cut over devices and accumulation.

    Args:
        seed: of the run.
        step: 0-based.
        number: of the micro-batch in the step, over all devices: those of the first device come first.
        shape: of its predictions.

    Returns:
        In (0, 1), float64, on the CPU.
    """
    size = int(np.prod(shape))
    count, skipped = divmod(number * size, _WORDS)
    generator = np.random.Philox(key=[seed, _STREAM], counter=[count, step, 0, 0])
    words = generator.random_raw(skipped + size)[skipped:]
    # 53 bits, in the middle of their cells.
    return torch.from_numpy(((words >> np.uint64(11)) + 0.5) * 2.0**-53).reshape(tuple(shape))


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
