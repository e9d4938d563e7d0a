"""Rotary positions on a grid: half of each head's features is rotated by the column, half by the row.

Shape letters: B batch, H heads, T patches (row by row), D head dim.
"""

from __future__ import annotations

import torch

from models.rotary import Rotary


class AxialRotary(Rotary):
    """Rotates adjacent pairs of features by angles that grow along the two axes (Heo et al. 2024, "axial").

    The first ``D / 4`` pairs depend on the column, the others on the row, both with the frequencies of a head of
    ``D / 2`` features.

    Args:
        head_dim: D, divisible by 4.
        rows: patches from top to bottom.
        columns: patches from left to right.
        theta: base of the frequencies; paper 1's released code has 100.
    """

    def __init__(self, head_dim: int, rows: int, columns: int, theta: float = 100.0) -> None:
        super().__init__(head_dim // 2, max(rows, columns), theta)
        patch = torch.arange(rows * columns)
        row, column = patch // columns, patch % columns
        self.cos_TD = torch.cat((self.cos_TD[column], self.cos_TD[row]), dim=1)
        self.sin_TD = torch.cat((self.sin_TD[column], self.sin_TD[row]), dim=1)
