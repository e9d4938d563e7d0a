"""Layers under `torch.func.vmap`: linear layers as batched matrix products, and autocast, which vmap bypasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_LAYERS: frozenset[Callable[..., Any]] = frozenset(
    (F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
)
_LOSSES: frozenset[Callable[..., Any]] = frozenset(
    (F.cross_entropy, F.nll_loss, F.mse_loss, F.l1_loss, F.smooth_l1_loss)
)


class PackLayers(TorchFunctionMode):
    """A context in which the layers of a network under vmap compute the same numbers as without vmap, and fast.

    A linear layer whose weights differ between runs is one batched matrix product in the forward pass and one for each
    gradient; vmap's rule would leave the weights' gradients transposed. If autocast is on, layers use its precision
    and losses use float32, as without vmap.

    Args:
        device: kind of device, ``cpu`` or ``cuda``.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self._dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if self._dtype is not None and (func in _LAYERS or func in _LOSSES):
            dtype = self._dtype if func in _LAYERS else torch.float32
            args = tuple(_cast(x, dtype) for x in args)
            named = {name: _cast(x, dtype) for name, x in named.items()}
        if func is F.linear and torch._C._functorch.is_batchedtensor(args[1] if len(args) > 1 else named["weight"]):
            return _linear(*args, **named)
        return func(*args, **named)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = _Linear.apply(input, weight)
    return y if bias is None else y + bias


class _Linear(torch.autograd.Function):
    """``x @ weight.T`` of one run; under vmap, of all runs at once."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Save nothing, because `_Products` computes the gradients."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], x: Tensor, weight: Tensor) -> tuple[Tensor, int]:
        assert in_dims[1] is not None
        weight_RON = weight.movedim(in_dims[1], 0)
        x_R = x.expand(info.batch_size, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)
        rows = x_R.shape[1:-1]
        y_RMO = _Products.apply(x_R.reshape(info.batch_size, -1, x_R.shape[-1]), weight_RON)
        return y_RMO.unflatten(1, rows) if rows else y_RMO.squeeze(1), 0


class _Products(torch.autograd.Function):
    """``[R, M, N] @ [R, O, N].T``; every gradient is one product, with the memory layout of its input."""

    @staticmethod
    def forward(ctx: Any, x_RMN: Tensor, weight_RON: Tensor) -> Tensor:
        ctx.save_for_backward(x_RMN, weight_RON)
        return torch.bmm(x_RMN, weight_RON.mT)

    @staticmethod
    def backward(ctx: Any, grad_RMO: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_RMN, weight_RON = ctx.saved_tensors
        grad_x = torch.bmm(grad_RMO, weight_RON) if ctx.needs_input_grad[0] else None
        return grad_x, torch.bmm(grad_RMO.mT, x_RMN) if ctx.needs_input_grad[1] else None
