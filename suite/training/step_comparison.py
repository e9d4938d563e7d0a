"""Comparing two ways to take one step: what they change, and how far results lie apart beyond rounding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4}
"""How far results may differ, as a share of their norm, by the order of sums; plain steps may differ more."""

ROUNDING_AUTOCAST = 2.0**-6
"""The same where layers compute in half precision."""

Results = dict[str, list[Tensor]]
"""What a step gives, by name."""


@contextlib.contextmanager
def as_they_were(tensors: Sequence[Tensor], before: Sequence[Tensor] | None = None) -> Iterator[None]:
    """A context after which tensors hold again what they held before it, and the same random numbers come."""
    kept = [tensor.clone() for tensor in tensors] if before is None else before
    gpus = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(tensors, kept, strict=True):
                tensor.copy_(old)
        forget_casts()


def forget_casts() -> None:
    """Have autocast cast weights anew: a recording must not read a copy from before it, nor a step one from after."""
    if torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"):
        torch.clear_autocast_cache()


def copied(results: Results, written: Sequence[Tensor]) -> Results:
    """Copies of a step's results and, as ``state``, of the tensors that it has written."""
    return {name: [x.clone() for x in tensors] for name, tensors in {**results, "state": list(written)}.items()}


def change(now: Tensor, old: Tensor) -> Tensor:
    """What a step added to a tensor; the tensor itself where it holds whole numbers."""
    return now - old if now.is_floating_point() else now


def rounding(tensors: Sequence[Tensor]) -> float:
    """How far tensors may be from right ones by the order of sums, as a share of their norm."""
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not floats:
        return 0.0
    device = floats[0].device.type
    if torch.is_autocast_enabled(device):
        return ROUNDING_AUTOCAST
    return max(ROUNDING.get(tensor.dtype, ROUNDING_AUTOCAST) for tensor in floats)


def distance(got: Sequence[Tensor], expected: Sequence[Tensor], changed: Sequence[Tensor]) -> float:
    """Norm of the difference as a share of that of the change; infinite where whole numbers or NaN are elsewhere."""
    differences, changes = [], []
    for one, other, change in zip(got, expected, changed, strict=True):
        if not other.is_floating_point():
            if not torch.equal(one, other):
                return float("inf")
            continue
        if not torch.equal(one.isfinite(), other.isfinite()):
            return float("inf")
        differences.append(torch.linalg.vector_norm((one - other).nan_to_num(0, 0, 0), dtype=torch.float64))
        changes.append(torch.linalg.vector_norm(change.nan_to_num(0, 0, 0), dtype=torch.float64))
    if not differences:
        return 0.0
    difference, size = (float(torch.stack(norms).norm()) for norms in (differences, changes))
    return difference / size if size > 0 else (0.0 if difference == 0 else float("inf"))
