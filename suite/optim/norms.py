"""Euclidean norms of long vectors."""

from __future__ import annotations

import torch
from torch import Tensor

LONG = 65_536
"""Length above which a norm is summed in pieces on a CPU; a sequential sum up to it is accurate to 2e-6."""

PIECE = 1024


def row_norms(rows: Tensor) -> Tensor:
    """Norm of each row, ``[..., P]`` to ``[..., 1]``.

    On a CPU torch sums the squares of a row sequentially: in single precision the norm of 28M coordinates has an error
    of 0.2%, and so has a clipped gradient. Summed in pieces it is accurate to 2e-7 (`benchmarks/norms.py`).
    """
    count = rows.shape[-1]
    if rows.device.type != "cpu" or count <= LONG:
        return torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    whole = count - count % PIECE
    pieces = torch.linalg.vector_norm(rows[..., :whole].unflatten(-1, (-1, PIECE)), dim=-1)
    rest = torch.linalg.vector_norm(rows[..., whole:], dim=-1, keepdim=True)
    return row_norms(torch.cat((pieces, rest), dim=-1))


def norm_of(tensor: Tensor) -> Tensor:
    """Norm of all elements, 0-d; see `row_norms`."""
    return row_norms(tensor.reshape(-1)).squeeze(-1)
