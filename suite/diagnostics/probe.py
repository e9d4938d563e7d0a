"""The loss on a few training samples at a network's weights: value, gradient, and products with the Hessian.

The samples depend on the seed of the data's order alone, so they are the same for every optimizer and batch size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from suite.diagnostics.moment import Moment
from suite.training.data import Data
from suite.training.task import Task

CHUNK = 8
"""Samples per forward pass, few enough that logits and second derivatives need little memory."""

_SEED = 0x9E3779B9


def drawn(data: Data, count: int, *, seed: int = 0) -> np.ndarray:
    """Indices of training samples, int64 ``[count]``, drawn with replacement by ``seed`` and the data's seed."""
    return np.random.default_rng([_SEED, data.seed, seed]).integers(0, data.train_samples, count)


def chunk_size(task: Task, data: Data, otherwise: int) -> int:
    """Samples per forward pass: the run's micro-batch if its samples influence each other (BatchNorm)."""
    return data.plan().indices(0).shape[1] if task.batch_coupled else otherwise


def chunks(
    task: Task, data: Data, numbers: np.ndarray, *, split_name: str = "train", size: int | None = None
) -> Iterator[Any]:
    """Batches of the given samples, in order, on the network's device, of ``size`` samples or of `chunk_size`."""
    assert task.network is not None
    device = next(task.network.parameters()).device
    size = size or chunk_size(task, data, CHUNK)
    for start in range(0, len(numbers), size):
        yield move_data_to_device(data.gather(split_name, numbers[start : start + size]), device)


class Probe:
    """The mean loss of some samples, as a function of the network's weights.

    Args:
        task: the task, with its network built.
        batches: the samples in batches; an iterator serves one evaluation only.
        names: parameters with respect to which derivatives are taken; None: all trainable ones.
    """

    def __init__(self, task: Task, batches: Iterable[Any], names: Sequence[str] | None = None) -> None:
        assert task.network is not None
        self.task = task
        self.batches = batches
        trainable = {name: p for name, p in task.network.named_parameters() if p.requires_grad}
        self.parameters = trainable if names is None else {name: trainable[name] for name in names}

    @classmethod
    def of(cls, moment: Moment, samples: int) -> Probe:
        """The probe of a run, with the same samples at every moment."""
        numbers = drawn(moment.data, samples)
        return cls(moment.task, list(chunks(moment.task, moment.data, numbers)))

    def only(self, names: Sequence[str]) -> Probe:
        """A probe with the same samples, and derivatives with respect to some parameters alone."""
        return Probe(self.task, self.batches, names)

    def loss(self) -> Tensor:
        """Mean loss, 0-d."""
        with torch.no_grad(), differentiable_twice(self.task):
            parts = [self.task.loss(self.task(batch), batch) for batch in self.batches]
        return torch.stack([total for total, _ in parts]).sum() / sum(count for _, count in parts)

    def gradient(self) -> Tensor:
        """Gradient of the mean loss, ``[P]``."""
        return self._summed(lambda loss, parameters: joined(_grad(loss, parameters)))

    def hessian_product(self, vector: Tensor) -> Tensor:
        """The exact product ``[P]`` of the mean loss's Hessian with a vector ``[P]``, by differentiating twice.

        Raises:
            ValueError: a layer has no second derivative.
        """

        def product(loss: Tensor, parameters: list[Tensor]) -> Tensor:
            slope = joined(_grad(loss, parameters, create_graph=True))
            if not slope.requires_grad:
                return torch.zeros_like(vector)
            return joined(_grad(slope @ vector, parameters))

        try:
            return self._summed(product)
        except RuntimeError as error:
            if "differentiate" not in str(error) and "derivative" not in str(error):
                raise
            raise ValueError(
                "Second derivatives are needed by sharpness, smoothness and spectra, got a layer without them "
                f"({str(error).strip().partition(chr(10))[0]}); set model.attention to sdpa, or leave these out of "
                "model.diagnostics."
            ) from error

    def _summed(self, of_loss: Any) -> Tensor:
        whole: Tensor | None = None
        counts = 0
        parameters = list(self.parameters.values())
        for batch in self.batches:
            with torch.enable_grad(), differentiable_twice(self.task):
                total, count = self.task.loss(self.task(batch), batch)
                part = of_loss(total, parameters)
            whole = part if whole is None else whole.add_(part)
            counts += count
        assert whole is not None
        return whole.div_(counts)


@contextlib.contextmanager
def differentiable_twice(task: Task) -> Iterator[None]:
    """A context in which attention and loss use operations that have second derivatives."""
    with sdpa_kernel(SDPBackend.MATH), task.twice_differentiable():
        yield


def batch_gradient(task: Task, batch: Any) -> Tensor:
    """Gradient of the mean loss of one batch, ``[P]``."""
    assert task.network is not None
    parameters = [p for p in task.network.parameters() if p.requires_grad]
    with torch.enable_grad():
        total, count = task.loss(task(batch), batch)
        return joined(_grad(total / count, parameters))


def _grad(value: Tensor, parameters: Sequence[Tensor], *, create_graph: bool = False) -> list[Tensor]:
    grads = torch.autograd.grad(value, parameters, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(grads, parameters, strict=True)]


def joined(tensors: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
    """Join tensors, in order, to one vector ``[P]``, at least in float32."""
    parts = tensors.values() if isinstance(tensors, Mapping) else tensors
    whole = torch.cat([part.reshape(-1) for part in parts])
    return whole.to(torch.promote_types(whole.dtype, torch.float32))


def split(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split a vector ``[P]`` into flat views, one per tensor in ``like``; the inverse of `joined`."""
    pieces = vector.split([tensor.numel() for tensor in like.values()])
    return dict(zip(like, pieces, strict=True))
