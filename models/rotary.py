"""Rotary position embedding (Su et al. 2021).

Shape letters: B batch, H heads, T positions, D head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Rotates adjacent pairs of features by angles that grow with position.

    Args:
        head_dim: D, even.
        max_len: longest sequence, T.
        theta: base of the frequencies.
    """

    cos_TD: Tensor
    sin_TD: Tensor

    def __init__(self, head_dim: int, max_len: int, theta: float = 10_000.0) -> None:
        super().__init__()
        frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angle = torch.outer(torch.arange(max_len, dtype=torch.float64), frequency).repeat_interleave(2, dim=1)
        self.register_buffer("cos_TD", angle.cos().float(), persistent=False)
        self.register_buffer("sin_TD", angle.sin().float(), persistent=False)

    def forward(self, x_BHTD: Tensor) -> Tensor:
        """Rotate ``x_BHTD``; returns the same shape and dtype."""
        length = x_BHTD.shape[-2]
        pairs = x_BHTD.unflatten(-1, (-1, 2))
        turned = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
        return (x_BHTD * self.cos_TD[:length] + turned * self.sin_TD[:length]).to(x_BHTD.dtype)
