"""Cross-entropy of a linear head over a large vocabulary, without ever holding all logits.

Logits of 256 x 1024 tokens over 50,257 words are 53 GB in single precision, and their gradient as much again. Here a
chunk of tokens at a time is projected, compared with its targets and turned into gradients; only those are kept.

Shape letters: N tokens, C width, V vocabulary, R runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def summed_cross_entropy(features_NC: Tensor, weight_VC: Tensor, targets_N: Tensor, *, chunk_tokens: int) -> Tensor:
    """Sum over tokens of ``-log softmax(features @ weight.T)[target]``, ``chunk_tokens`` tokens at a time.

    Value and gradients equal those of the plain computation up to the order of summation. Projections run in the dtype
    that autocast asks for, else in that of the features; softmax and sums in float32 at least. Torch's own
    `linear_cross_entropy` is used where it is present and loses nothing: outside of `torch.func.vmap`, which it has no
    fast rule for, and in full precision, since in half precision it returns the sum itself with three digits.
    The gradient is computed along with the value, so that no logits are computed twice; it has no further derivatives.

    Args:
        features_NC: input of the head.
        weight_VC: weight of the head.
        targets_N: int64 token ids.
        chunk_tokens: number of rows of logits that are held at a time.

    Returns:
        0-d, in nats, float32 at least.
    """
    if torch._C._functorch.is_batchedtensor(features_NC) or torch._C._functorch.is_batchedtensor(weight_VC):
        return _PerRun.apply(features_NC, weight_VC, targets_N, chunk_tokens)
    if torch_applies(features_NC, weight_VC):
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=chunk_tokens)
        return F.linear_cross_entropy(features_NC, weight_VC, targets_N, reduction="sum", options=options)
    return _Chunked.apply(features_NC, weight_VC, targets_N, chunk_tokens, torch.is_grad_enabled())


@torch.no_grad()
def drawn_targets(features_NC: Tensor, weight_VC: Tensor, uniforms_N: Tensor, *, chunk_tokens: int) -> Tensor:
    """Draw a token for every row from ``softmax(features @ weight.T)``, without ever holding all logits.

    It is the first token up to which the probabilities add up to more than the row's number; in double precision.

    Args:
        features_NC: input of the head.
        weight_VC: weight of the head.
        uniforms_N: numbers in [0, 1).
        chunk_tokens: number of rows of logits that `summed_cross_entropy` holds; here they are an eighth of it.

    Returns:
        int64 token ids ``[N]``.
    """
    rows = max(1, chunk_tokens // 8)
    drawn = []
    for x_nC, u_n in zip(features_NC.split(rows), uniforms_N.split(rows), strict=True):
        cumulative_nV = F.linear(x_nC, weight_VC).double().softmax(dim=-1).cumsum(dim=-1)
        drawn.append((cumulative_nV <= u_n.double().unsqueeze(-1) * cumulative_nV[:, -1:]).sum(dim=-1))
    return torch.cat(drawn).clamp(max=len(weight_VC) - 1)


def torch_applies(features_NC: Tensor, weight_VC: Tensor) -> bool:
    """Whether torch's chunked `linear_cross_entropy` is present and computes in full precision here."""
    is_present = hasattr(F, "linear_cross_entropy") and hasattr(torch.nn, "LinearCrossEntropyOptions")
    dtype = _compute_dtype(features_NC)
    return is_present and dtype == features_NC.dtype == weight_VC.dtype and dtype in (torch.float32, torch.float64)


def _compute_dtype(features: Tensor) -> torch.dtype:
    device = features.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype


class _Chunked(torch.autograd.Function):
    """Value and gradients in one pass over chunks of tokens."""

    @staticmethod
    def forward(
        ctx: Any, features_NC: Tensor, weight_VC: Tensor, targets_N: Tensor, chunk_tokens: int, with_grad: bool
    ) -> Tensor:
        dtype = _compute_dtype(features_NC)
        needed = [with_grad and needs for needs in ctx.needs_input_grad[:2]]
        grad_NC = torch.empty_like(features_NC) if needed[0] else None
        wide = torch.promote_types(dtype, torch.float32)
        grad_VC = torch.zeros_like(weight_VC, dtype=wide) if needed[1] else None
        with torch.autocast(features_NC.device.type, enabled=False):
            total = _pass(features_NC, weight_VC.to(dtype), targets_N, chunk_tokens, grad_NC, grad_VC)
        ctx.save_for_backward(grad_NC, None if grad_VC is None else grad_VC.to(weight_VC.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(None if kept is None else kept * grad.to(kept.dtype) for kept in ctx.saved_tensors), None, None, None)


def _pass(
    features_NC: Tensor,
    weight_VC: Tensor,
    targets_N: Tensor,
    chunk_tokens: int,
    grad_NC: Tensor | None,
    grad_VC: Tensor | None,
) -> Tensor:
    """The sum of the losses; fills ``grad_NC`` and adds to ``grad_VC`` where they are given."""
    wide = torch.promote_types(weight_VC.dtype, torch.float32)
    total = torch.zeros((), dtype=wide, device=features_NC.device)
    # One buffer serves all chunks, and all work on it is in place, so that the loss takes no more memory than it.
    rows = min(chunk_tokens, len(features_NC))
    buffer = torch.empty(rows, len(weight_VC), dtype=wide, device=features_NC.device)
    for start in range(0, len(features_NC), chunk_tokens):
        part = slice(start, start + chunk_tokens)
        x_nC = features_NC[part].to(weight_VC.dtype)
        targets_n1 = targets_N[part, None]
        logits_nV = buffer[: len(x_nC)]
        if weight_VC.dtype == wide:
            torch.mm(x_nC, weight_VC.T, out=logits_nV)
        else:
            logits_nV.copy_(x_nC @ weight_VC.T)
        logits_nV -= logits_nV.amax(dim=1, keepdim=True)
        total -= logits_nV.gather(1, targets_n1).sum()
        normaliser_n1 = logits_nV.exp_().sum(dim=1, keepdim=True)
        total += normaliser_n1.log().sum()
        if grad_NC is None and grad_VC is None:
            continue
        # d loss / d logits: the probabilities, less one at the target.
        error_nV = logits_nV.div_(normaliser_n1)
        error_nV.scatter_add_(1, targets_n1, error_nV.new_full((), -1).expand_as(targets_n1))
        error_nV = error_nV.to(weight_VC.dtype)
        if grad_NC is not None:
            grad_NC[part] = error_nV @ weight_VC
        if grad_VC is not None and weight_VC.dtype == wide:
            grad_VC.addmm_(error_nV.T, x_nC)
        elif grad_VC is not None:
            grad_VC += error_nV.T @ x_nC
    return total


class _PerRun(torch.autograd.Function):
    """Many networks under vmap: computed one after the other, so that only one network's logits are in memory."""

    @staticmethod
    def forward(features_NC: Tensor, weight_VC: Tensor, targets_N: Tensor, chunk_tokens: int) -> Tensor:
        return summed_cross_entropy(features_NC, weight_VC, targets_N, chunk_tokens=chunk_tokens)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept: gradients flow through the runs' own calls."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        features_RNC: Tensor,
        weight_RVC: Tensor,
        targets_RN: Tensor,
        chunk_tokens: int,
    ) -> tuple[Tensor, int]:
        runs = (
            x.expand(info.batch_size, *x.shape).unbind(0) if d is None else x.unbind(d)
            for x, d in zip((features_RNC, weight_RVC, targets_RN), in_dims[:3], strict=True)
        )
        sums = [
            _Chunked.apply(features, weight, targets, chunk_tokens, torch.is_grad_enabled())
            for features, weight, targets in zip(*runs, strict=True)
        ]
        return torch.stack(sums), 0
