"""Edges from every node to itself."""

from __future__ import annotations

import torch
from torch import Tensor


def with_self_loops(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Append one self-loop per node to the edges.

    Args:
        edge_index: int64 ``[2, E]``, without self-loops.
        num_nodes: N.

    Returns:
        int64 ``[2, E + N]``.
    """
    loops = torch.arange(num_nodes, device=edge_index.device)
    return torch.cat([edge_index, loops.expand(2, -1)], dim=1)
