"""Rotary position embedding (Su et al. 2021).

Shape letters: B batch, H heads, T positions, D head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Rotates adjacent pairs of features by angles that grow with position.

    Args:
        head_dim: D.
        max_len: longest sequence, T.
        theta: base of the frequencies.
        rotated: even number of features, the first ones, that are rotated; the others stay as they are. None: all.
    """

    cos_TD: Tensor
    sin_TD: Tensor

    def __init__(self, head_dim: int, max_len: int, theta: float = 10_000.0, rotated: int | None = None) -> None:
        super().__init__()
        self.kept = 0 if rotated is None else head_dim - rotated
        turning = head_dim - self.kept
        frequency = theta ** (-torch.arange(0, turning, 2, dtype=torch.float64) / turning)
        angle = torch.outer(torch.arange(max_len, dtype=torch.float64), frequency).repeat_interleave(2, dim=1)
        self.register_buffer("cos_TD", angle.cos().float(), persistent=False)
        self.register_buffer("sin_TD", angle.sin().float(), persistent=False)

    def forward(self, x_BHTD: Tensor) -> Tensor:
        """Rotate ``x_BHTD``; returns the same shape and dtype."""
        if self.kept:
            x_BHTD, kept_BHTD = x_BHTD.split((x_BHTD.shape[-1] - self.kept, self.kept), dim=-1)
            return torch.cat((self._turned(x_BHTD), kept_BHTD), dim=-1)
        return self._turned(x_BHTD)

    def _turned(self, x_BHTD: Tensor) -> Tensor:
        length = x_BHTD.shape[-2]
        pairs = x_BHTD.unflatten(-1, (-1, 2))
        turned = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
        return (x_BHTD * self.cos_TD[:length] + turned * self.sin_TD[:length]).to(x_BHTD.dtype)
