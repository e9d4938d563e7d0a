"""A context in which a network has other weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from suite.diagnostics.moment import Tensors


@contextlib.contextmanager
def at_weights(network: nn.Module, weights: Tensors) -> Iterator[None]:
    """Give the network other weights, and restore its weights at the end, bit for bit."""
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
