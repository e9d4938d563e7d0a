"""A quadratic as a network: its weights are the point, its outputs the losses of samples.

Shape letters: B batch, N design rows, D dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Quadratic(nn.Module):
    """Losses of samples whose mean is ``w' H w / 2`` with ``H = mean of a_i a_i'`` (paper 2, appendix I).

    All weights start at 1.

    Args:
        rows_ND: the design rows ``a_i``.
    """

    rows: Tensor

    def __init__(self, rows_ND: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows_ND, persistent=False)
        self.weight = nn.Parameter(torch.ones(rows_ND.shape[1]))

    def forward(self, samples: Tensor) -> Tensor:
        """Loss of each sample, ``[B]``.

        Args:
            samples: numbers of design rows, int64 ``[B, 1]``: the loss of row ``i`` is ``(a_i' w)^2 / 2``; or noise
                ``xi``, float ``[B, D]``: the loss is the exact one minus ``xi' w``, its gradient ``H w - xi``.
        """
        halves_N = 0.5 * (self.rows @ self.weight).square()
        if samples.is_floating_point():
            return halves_N.mean() - samples @ self.weight
        return halves_N[samples[:, 0]]
