"""Autocast for networks under `torch.func.vmap`, which bypasses it in layers and losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
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


def mixed_precision_layers(device: str) -> AbstractContextManager[Any]:
    """Where autocast is on, a context in which it reaches layers and losses under vmap too; else an empty one.

    Args:
        device: kind of device, ``cpu`` or ``cuda``.
    """
    return _Casting(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else nullcontext()


class _Casting(TorchFunctionMode):
    """Casts the floating arguments of layers and losses, as autocast does outside vmap."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        wanted = self._dtype if func in _LAYERS else torch.float32 if func in _LOSSES else None
        if wanted is not None:
            args = tuple(_cast(x, wanted) for x in args)
            named = {name: _cast(x, wanted) for name, x in named.items()}
        return func(*args, **named)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
