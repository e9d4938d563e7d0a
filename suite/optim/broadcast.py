"""Arithmetic with hyperparameters that are floats, or tensors that broadcast over a leading run dimension.

Factors such as ``1 - beta`` lose digits in single precision (``1 - 0.999`` is wrong in the fifth digit). Rules
therefore compute them in the precision of the hyperparameters (float64 in a pack) and round only the result.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

Number = float | Tensor

Hyper = Mapping[str, Number]
"""Hyperparameters by name."""

State = dict[str, Tensor]
"""The tensors that a rule keeps for a parameter from step to step, by name."""


class LaterStep:
    """The number of a step after the first, as a tensor; the ``step`` of a rule that is traced once for all of them.

    A rule may compare it with 1, raise numbers to its power, and compute with its `elapsed`; nothing else.

    Args:
        number: 0-d, float64.
    """

    def __init__(self, number: Tensor) -> None:
        self._number = number

    @property
    def number(self) -> Tensor:
        """The number, 0-d, float64."""
        return self._number

    def __eq__(self, other: object) -> bool:
        """Whether this is the first step; always False."""
        return self._refuse_but_one(other, False)

    def __ne__(self, other: object) -> bool:
        """Whether this is a later step; always True."""
        return self._refuse_but_one(other, True)

    def __gt__(self, other: object) -> bool:
        """Whether this step comes after the first; always True."""
        return self._refuse_but_one(other, True)

    def __rpow__(self, base: Number) -> Tensor:
        """``base ** step``."""
        return base**self._number  # type: ignore[return-value]

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def _refuse_but_one(other: object, answer: bool) -> bool:
        if other != 1:
            raise TypeError(f"A traced step can be compared with 1 alone, got {other!r}.")
        return answer


def elapsed(step: int | LaterStep) -> Number:
    """The number of a step to compute with; of a traced one a tensor, so that no branch may depend on it."""
    return step.number if isinstance(step, LaterStep) else step


def rounded(number: Number, like: Tensor) -> Number:
    """A tensor ``number`` converted to the dtype of ``like``, which it is to multiply; a float is returned as it is."""
    if not isinstance(number, Tensor):
        return number
    factor = number.to(like.dtype)
    traced = not torch.compiler.is_dynamo_compiling() and get_proxy_mode() is not None
    return settled(factor) if traced else factor


@torch.library.custom_op("suite::settled", mutates_args=())
def settled(number: Tensor) -> Tensor:
    """Return a copy of ``number``, as a barrier that the compiler cannot fuse across.

    Without it the compiler fuses the factors of a run into the loop over the coordinates, and computes their powers and
    quotients again for every coordinate.
    """
    return number.clone()


@settled.register_fake
def _(number: Tensor) -> Tensor:
    return torch.empty_like(number)


def average(old: Tensor, new: Tensor, decay: Number) -> Tensor:
    """Exponential moving average ``decay * old + (1 - decay) * new``, in a new tensor."""
    return torch.lerp(old, new, rounded(1 - decay, old))


def heavy_ball(old: Tensor, new: Tensor, momentum: Number) -> Tensor:
    """Sum ``momentum * old + new``, in a new tensor."""
    return torch.mul(old, rounded(momentum, old)).add_(new)
