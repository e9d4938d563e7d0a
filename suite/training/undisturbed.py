"""A context in which further passes through a network do not change the run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn


@contextlib.contextmanager
def undisturbed(network: nn.Module, *, full_precision: bool = True) -> Iterator[None]:
    """Restore random states, buffers (running statistics) and the mode of every module at the end.

    Args:
        network: the network of the run.
        full_precision: turn autocast off, even if the run uses it.
    """
    device = next(network.parameters()).device
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    modes = {module: module.training for module in network.modules()}
    try:
        precision = torch.autocast(device.type, enabled=False) if full_precision else contextlib.nullcontext()
        with isolate_rng(include_cuda=device.type == "cuda"), precision:
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
