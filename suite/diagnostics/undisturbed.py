"""Looking without touching: whatever is computed in here leaves a run as it was."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from suite.diagnostics.moment import Tensors


@contextlib.contextmanager
def undisturbed(network: nn.Module, *, full_precision: bool = True) -> Iterator[None]:
    """Put back random states, buffers (running statistics) and the mode afterwards.

    Args:
        network: what is looked at.
        full_precision: compute without autocast, whatever the run does.
    """
    device = next(network.parameters()).device
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    modes = {module: module.training for module in network.modules()}
    numpy_state, python_state = np.random.get_state(), random.getstate()
    devices = [device] if device.type == "cuda" else []
    try:
        precision = torch.autocast(device.type, enabled=False) if full_precision else contextlib.nullcontext()
        with torch.random.fork_rng(devices), precision:
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])


@contextlib.contextmanager
def at_weights(network: nn.Module, weights: Tensors) -> Iterator[None]:
    """Give the network other weights, and its own back afterwards, bit for bit."""
    parameters = {name: p for name, p in network.named_parameters() if name in weights}
    originals = {name: p.detach().clone() for name, p in parameters.items()}
    try:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(weights[name])
        yield
    finally:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(originals[name])
