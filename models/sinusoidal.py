"""Fixed sinusoidal positions (Vaswani et al. 2017): of a sequence, and of a grid as vision transformers use them.

Shape letters: T positions, C width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoidal_positions(length: int, width: int, temperature: float = 10_000.0) -> Tensor:
    """Sines in the first half of the features, cosines in the second.

    Frequency ``i`` of the ``width / 2`` is ``temperature ** (-i / (width / 2 - 1))``: the last one is exactly
    ``1 / temperature``.

    Args:
        length: T.
        width: C, even and at least 4.
        temperature: ratio of the highest to the lowest frequency.

    Returns:
        float32 ``[T, C]``.

    Raises:
        ValueError: the width is odd or too small.
    """
    if width < 4 or width % 2:
        raise ValueError(f"width must be even and at least 4 (sines and cosines of two frequencies), got {width}.")
    frequencies = width // 2
    exponent = torch.arange(frequencies, dtype=torch.float64) / (frequencies - 1)
    angle_TF = torch.outer(torch.arange(length, dtype=torch.float64), temperature**-exponent)
    return torch.cat((angle_TF.sin(), angle_TF.cos()), dim=1).float()


def scaled_positions(amplitude: float, length: int, width: int) -> Tensor | None:
    """`sinusoidal_positions` of an amplitude, ``[T, C]``; None at amplitude 0."""
    return amplitude * sinusoidal_positions(length, width) if amplitude else None


def grid_positions(rows: int, columns: int, width: int, temperature: float = 10_000.0) -> Tensor:
    """Positions of a grid, row by row (SimpleViT, Beyer et al. 2022): waves along the columns, then along the rows.

    Args:
        rows: rows of the grid.
        columns: columns of the grid.
        width: C, divisible by 4 and at least 8.
        temperature: ratio of the highest to the lowest frequency of either axis.

    Returns:
        float32 ``[rows * columns, C]``.

    Raises:
        ValueError: the width is not divisible by 4 or is too small.
    """
    if width < 8 or width % 4:
        raise ValueError(f"width must be divisible by 4 and at least 8 (two axes of positions), got {width}.")
    patch = torch.arange(rows * columns)
    along_x = sinusoidal_positions(columns, width // 2, temperature)[patch % columns]
    along_y = sinusoidal_positions(rows, width // 2, temperature)[patch // columns]
    return torch.cat((along_x, along_y), dim=1)
