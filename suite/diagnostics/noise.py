"""Gradient noise: per layer, at several batch sizes, in its tail, and its effect on sign descent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from suite.diagnostics.diagnostic import Diagnostic, Values
from suite.diagnostics.moment import Moment
from suite.diagnostics.noise_statistics import (
    NoiseStatistics,
    expected_sign,
    hill_tail_index,
    quantiles,
    scale_of,
    sign_progress,
)
from suite.diagnostics.probe import Probe, batch_gradient, chunk_size, chunks, drawn
from suite.fields import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise(Diagnostic):
    r"""Gradient noise at the run's weights, from gradients of few samples each.

    Quantities: ``trace`` of the covariance :math:`\Sigma` of one sample's gradient; ``variance``, quantiles over its
    coordinates;
    ``noise_scale``, the simple noise scale, or critical batch size (McCandlish et al. 2018); ``signal``,
    :math:`\lVert G \rVert^2`, unbiased; ``snr`` by layer, :math:`\lVert G_l \rVert^2 B / \mathrm{tr}\,\Sigma_l` at
    the run's batch size; ``trace_at`` by batch size, B times the trace of the covariance of gradients of B samples,
    the same at all B if samples are independent; ``tail_index`` of the noise norms, from their ``tail_values`` largest
    (`hill_tail_index`; below 2 the variance is infinite); ``sign_predicted`` and ``sign_actual`` by batch size, the
    progress of a sign step as a share of a noiseless one, from the diffusion limit and from the signs of measured
    gradients (`expected_sign`, `sign_progress`).

    Attributes:
        gradients: number of gradients for variance and tail; as many again give the reference for sign progress.
        group: samples per gradient; null: one, or the micro-batch if its samples influence each other.
        batch_sizes: batch sizes for traces and sign progress, in gradients of ``group`` samples.
    """

    gradients: int = 128
    group: int | None = None
    batch_sizes: tuple[int, ...] = (1, 4, 16)

    default: ClassVar[dict[str, int]] = {"times": 4}

    def __post_init__(self) -> None:
        require(
            self.gradients >= 4 and self.gradients % 2 == 0, "gradients", "an even number from 4 up", self.gradients
        )
        fitting = all(1 <= size <= self.gradients // 2 for size in self.batch_sizes)
        require(fitting, "batch_sizes", "at most half of gradients", self.batch_sizes)

    def measure(self, moment: Moment) -> Values:
        """The noise at the weights of one step."""
        group = self.group or chunk_size(moment.task, moment.data, 1)
        reference = self._reference(moment, group)
        statistics = NoiseStatistics(group)
        sums = {size: BatchesOf(size, reference) for size in self.batch_sizes}
        gradients = self._gradients(moment, group)
        for first, second in zip(gradients, gradients, strict=True):
            statistics.add(first, second)
            for batches in sums.values():
                batches.add(first)
                batches.add(second)
        index, tail = hill_tail_index(torch.stack(statistics.norms))
        scale = scale_of(statistics)
        values: Values = {
            ("trace", ""): scale.trace,
            ("signal", ""): scale.signal,
            ("noise_scale", ""): scale.simple,
            ("tail_index", ""): index,
            ("tail_values", ""): float(tail),
        }
        values |= {("variance", share): value for share, value in quantiles(statistics.variance).items()}
        mean, deviation = statistics.mean, statistics.variance.sqrt()
        for size, batches in sums.items():
            label = str(size * group)
            values["trace_at", label] = batches.trace * size * group
            values["sign_predicted", label] = sign_progress(reference, expected_sign(mean, deviation, size * group))
            values["sign_actual", label] = batches.progress
        return values | self._by_layer(moment, statistics)

    def _by_layer(self, moment: Moment, statistics: NoiseStatistics) -> Values:
        values: Values = {}
        start = 0
        for name, weight in moment.weights.items():
            layer = scale_of(statistics, slice(start, start + weight.numel()))
            values["snr", name] = layer.signal * moment.data.batch_size / layer.trace
            start += weight.numel()
        return values

    def _reference(self, moment: Moment, group: int) -> Tensor:
        numbers = drawn(moment.data, self.gradients * group, seed=1 + 2 * moment.step)
        return Probe(moment.task, chunks(moment.task, moment.data, numbers)).gradient()

    def _gradients(self, moment: Moment, group: int) -> Iterator[Tensor]:
        numbers = drawn(moment.data, self.gradients * group, seed=2 + 2 * moment.step)
        for batch in chunks(moment.task, moment.data, numbers, size=group):
            yield batch_gradient(moment.task, batch)


class BatchesOf:
    """Gradients joined into batches: the trace of their covariance, and the progress of their signs.

    Args:
        size: gradients per batch.
        reference: independent estimate of the gradient, ``[P]``.
    """

    def __init__(self, size: int, reference: Tensor) -> None:
        self.size = size
        self.reference = reference
        self._sum: Tensor | None = None
        self._held = 0
        self._last: Tensor | None = None
        self._squares: list[Tensor] = []
        self._progress: list[Tensor] = []

    def add(self, gradient: Tensor) -> None:
        """Add one gradient, ``[P]``; every ``size`` gradients make a batch."""
        self._sum = gradient.clone() if self._sum is None else self._sum.add_(gradient)
        self._held += 1
        if self._held < self.size:
            return
        whole = self._sum.div_(self.size)
        self._progress.append(sign_progress(self.reference, whole.sign()))
        if self._last is None:
            self._last = whole
        else:
            self._squares.append((whole - self._last).square().sum() / 2)
            self._last = None
        self._sum, self._held = None, 0

    @property
    def trace(self) -> Tensor:
        """Trace of the covariance of a batch's gradient, 0-d."""
        return torch.stack(self._squares).mean()

    @property
    def progress(self) -> Tensor:
        """Mean `sign_progress` of the sign of a batch's gradient, 0-d."""
        return torch.stack(self._progress).mean()
