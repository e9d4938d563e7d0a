"""Arithmetic with hyperparameters that are floats, or tensors that broadcast over a leading run dimension.

Factors such as ``1 - beta`` lose digits in single precision (``1 - 0.999`` is wrong in the fifth), so rules compute
them first, in the precision that the hyperparameters came in (float64 where runs are trained at once), and round last.
"""

from __future__ import annotations

import torch
from torch import Tensor

Number = float | Tensor


def rounded(number: Number, like: Tensor) -> Number:
    """A factor in the precision of the tensor that it is to multiply."""
    return number.to(like.dtype) if isinstance(number, Tensor) else number


def average(old: Tensor, new: Tensor, decay: Number) -> Tensor:
    """Exponential moving average ``decay * old + (1 - decay) * new``, in a new tensor."""
    return torch.lerp(old, new, rounded(1 - decay, old))


def heavy_ball(old: Tensor, new: Tensor, momentum: Number) -> Tensor:
    """Sum ``momentum * old + new``, in a new tensor."""
    return torch.mul(old, rounded(momentum, old)).add_(new)
