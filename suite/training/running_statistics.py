"""BatchNorm's running statistics over several devices: those of one device that saw the same micro-batches."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class RunningStatistics:
    r"""The running statistics of a network before a step that several devices take together.

    One device that sees micro-batch after micro-batch moves a statistic :math:`r` by :math:`r \leftarrow
    (1 - a) r + a s`. Each of W devices does so with its A micro-batches, whose part of the result is
    :math:`b_w = r_w - (1 - a)^A r`. In the order of the global batch, which is the order of the devices, these parts
    are :math:`(1 - a)^{A W} r + \sum_w (1 - a)^{A (W - 1 - w)} b_w`.

    Args:
        network: the network; statistics of layers that average over all their batches (momentum null) are left alone.
        rank: index of this device.
        world_size: W.
    """

    def __init__(self, network: nn.Module, *, rank: int, world_size: int) -> None:
        layers = [
            layer
            for layer in network.modules()
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.momentum is not None
        ]
        self._rank, self._world_size = rank, world_size
        self._statistics = [x for layer in layers for x in (layer.running_mean, layer.running_var) if x is not None]
        self._kept = [1 - layer.momentum for layer in layers for _ in range(2) if layer.momentum is not None]
        self._counts = [layer.num_batches_tracked for layer in layers if layer.num_batches_tracked is not None]
        self._before = [x.clone() for x in self._statistics]
        self._counts_before = [x.clone() for x in self._counts]

    @torch.no_grad()
    def combine(self, micro_batches: int) -> None:
        """Replace what this device made of them in a step of ``micro_batches`` by what all devices did."""
        if not self._statistics:
            return
        steps, later = micro_batches * self._world_size, micro_batches * (self._world_size - 1 - self._rank)
        parts = torch._foreach_mul(self._before, [-(kept**micro_batches) for kept in self._kept])
        torch._foreach_add_(parts, self._statistics)
        torch._foreach_mul_(parts, [kept**later for kept in self._kept])
        whole = torch.cat(parts)
        dist.all_reduce(whole)
        torch._foreach_mul_(self._before, [kept**steps for kept in self._kept])
        torch._foreach_add_(self._before, whole.split([len(part) for part in parts]))
        torch._foreach_copy_(self._statistics, self._before)
        for count, old in zip(self._counts, self._counts_before, strict=True):
            count.copy_(old + (count - old) * self._world_size)
