"""Softmax attention, by torch's fused kernels also where many networks run at once under `torch.func.vmap`.

Shape letters: R runs, B batch, H heads, T positions, D head dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, *, causal: bool) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q_BHTD: queries.
        k_BHTD: keys.
        v_BHTD: values.
        causal: whether a position sees itself and earlier ones alone.

    Returns:
        ``[B, H, T, D]``.
    """
    if torch._C._functorch.is_batchedtensor(q_BHTD):
        return _Folded.apply(q_BHTD, k_BHTD, v_BHTD, causal)
    return F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=causal)


class _Folded(torch.autograd.Function):
    """Attention under vmap: the run dimension is folded into the batch, since the fused kernels have no rule for it."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept: gradients flow through the folded call itself."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, int]:
        q_RBHTD, k_RBHTD, v_RBHTD = (
            x.movedim(d, 0) if d is not None else x.expand(info.batch_size, *x.shape)
            for x, d in zip((q, k, v), in_dims[:3], strict=True)
        )
        y = F.scaled_dot_product_attention(
            q_RBHTD.flatten(0, 1), k_RBHTD.flatten(0, 1), v_RBHTD.flatten(0, 1), is_causal=causal
        )
        return y.unflatten(0, (info.batch_size, -1)), 0
