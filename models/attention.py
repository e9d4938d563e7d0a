"""Softmax attention by one of several backends, also where many networks run at once under `torch.func.vmap`.

Shape letters: R runs, B batch, H heads, T positions, D head dim.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from models.installed import is_installed

Backend = Literal["sdpa", "flash_attn", "math"]
"""``sdpa``: torch's choice among its fused kernels. ``flash_attn``: the flash-attn library (CUDA, half precision).
``math``: the definition in plain operations, slow, with derivatives of any order."""


@dataclasses.dataclass(kw_only=True, eq=False)
class AttentionSettings:
    """The setting that is common to all networks with softmax attention."""

    attention: Backend = dataclasses.field(
        default="sdpa", metadata={"beside": "which kernel computes attention; the values agree up to rounding"}
    )
    """What computes the attention: ``sdpa`` (torch), ``flash_attn`` (the library) or ``math`` (plain operations)."""


def attend(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, *, causal: bool, backend: Backend = "sdpa") -> Tensor:
    """Scaled dot-product attention, ``softmax(q k^T / sqrt(D)) v`` (Vaswani et al. 2017, equation 1).

    Args:
        q_BHTD: queries.
        k_BHTD: keys.
        v_BHTD: values.
        causal: whether a position attends only to itself and earlier positions.
        backend: what computes it; all agree up to rounding.

    Returns:
        ``[B, H, T, D]``.

    Raises:
        ValueError: there is no such backend, or flash-attn is not installed or cannot take these tensors.
    """
    check_backend(backend)
    if backend == "math":
        return _by_definition(q_BHTD, k_BHTD, v_BHTD, causal)
    if torch._C._functorch.is_batchedtensor(q_BHTD):
        return _Folded.apply(q_BHTD, k_BHTD, v_BHTD, causal, backend)
    return _fused(q_BHTD, k_BHTD, v_BHTD, causal, backend)


def check_backend(backend: str) -> None:
    """Refuse an unknown backend.

    Raises:
        ValueError: the name is not among `Backend`'s.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"model.attention must be one of {', '.join(get_args(Backend))}, got {backend!r}.")


def flash_attn_refusal(q_BHTD: Tensor) -> str | None:
    """Why flash-attn cannot take these queries, as the end of a sentence; None: it can."""
    if not is_installed("flash_attn"):
        return "it is not installed (extra cuda)"
    if q_BHTD.device.type != "cuda":
        return f"its kernels need tensors on a GPU, got {q_BHTD.device.type}"
    if q_BHTD.dtype not in (torch.float16, torch.bfloat16):
        return f"its kernels need half precision (trainer.precision bf16-mixed), got {q_BHTD.dtype}"
    return None


def _fused(q: Tensor, k: Tensor, v: Tensor, causal: bool, backend: Backend) -> Tensor:
    if backend == "sdpa":
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    refusal = flash_attn_refusal(q)
    if refusal:
        raise ValueError(f"model.attention flash_attn cannot be used because {refusal}; set model.attention to sdpa.")
    from flash_attn import flash_attn_func

    # The library keeps positions before heads: [B, T, H, D].
    return flash_attn_func(*(x.transpose(1, 2) for x in (q, k, v)), causal=causal).transpose(1, 2)


def _by_definition(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, causal: bool) -> Tensor:
    scores_BHTT = (q_BHTD * q_BHTD.shape[-1] ** -0.5) @ k_BHTD.transpose(-1, -2)
    if causal:
        length, seen = scores_BHTT.shape[-2:]
        later_TT = torch.ones(length, seen, dtype=torch.bool, device=scores_BHTT.device).triu(1)
        scores_BHTT = scores_BHTT.masked_fill(later_TT, -torch.inf)
    wide = torch.promote_types(scores_BHTT.dtype, torch.float32)
    return scores_BHTT.softmax(dim=-1, dtype=wide).to(v_BHTD.dtype) @ v_BHTD


class _Folded(torch.autograd.Function):
    """Attention under vmap: the run dimension is folded into the batch, since the fused kernels have no rule for it."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, backend: Backend) -> Tensor:
        return _fused(q, k, v, causal, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept for a backward pass: gradients flow through the folded call itself."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], q: Tensor, k: Tensor, v: Tensor, causal: bool, backend: Backend
    ) -> tuple[Tensor, int]:
        q_RBHTD, k_RBHTD, v_RBHTD = (
            x.movedim(d, 0) if d is not None else x.expand(info.batch_size, *x.shape)
            for x, d in zip((q, k, v), in_dims[:3], strict=True)
        )
        y = _fused(q_RBHTD.flatten(0, 1), k_RBHTD.flatten(0, 1), v_RBHTD.flatten(0, 1), causal, backend)
        return y.unflatten(0, (info.batch_size, -1)), 0
