"""Labels drawn from a network's own predictions, one uniform number each."""

from __future__ import annotations

import torch
from torch import Tensor

_AT_ONCE = 1 << 24
"""Number of probabilities that are held at a time."""


@torch.no_grad()
def draw_labels(logits: Tensor, uniforms: Tensor | None = None) -> Tensor:
    """Draw the label of every prediction from its softmax: the class at which the cumulative probability passes u.

    It is computed in double precision, so that nearly equal logits give equal labels but where u lies within their
    rounding of a class's border. It works under `torch.func.vmap`.

    Args:
        logits: ``[..., K]``.
        uniforms: u, in [0, 1), shaped like the predictions, ``[...]``; None: drawn by torch.

    Returns:
        Class numbers, int64 ``[...]``.
    """
    if uniforms is None:
        uniforms = torch.rand(logits.shape[:-1], dtype=torch.float64, device=logits.device)
    classes = logits.shape[-1]
    rows = max(1, _AT_ONCE // classes)
    parts = zip(logits.reshape(-1, classes).split(rows), uniforms.reshape(-1).split(rows), strict=True)
    return torch.cat([_drawn(some_logits, some) for some_logits, some in parts]).reshape(uniforms.shape)


def _drawn(logits: Tensor, uniforms: Tensor) -> Tensor:
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    passed = cumulative <= uniforms.double().unsqueeze(-1) * cumulative[..., -1:]
    return passed.sum(dim=-1).clamp(max=logits.shape[-1] - 1)
