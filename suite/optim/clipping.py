"""Gradient clipping, without a host synchronisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def clip_global_norm(grads: Sequence[Tensor], max_norm: float | None) -> Tensor:
    """Scale gradients in place so that their joint Euclidean norm is at most ``max_norm``.

    The coefficient is ``min(1, max_norm / (norm + 1e-6))``, as in `torch.nn.utils.clip_grad_norm_`.

    Args:
        grads: all gradients of one run.
        max_norm: None measures only.

    Returns:
        The norm before clipping, a 0-d tensor on the gradients' device.
    """
    norms = torch._foreach_norm(list(grads))
    norm = torch.linalg.vector_norm(torch.stack(norms))
    if max_norm is not None:
        torch._foreach_mul_(list(grads), torch.clamp(max_norm / (norm + 1e-6), max=1.0))
    return norm
