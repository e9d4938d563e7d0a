"""Graph convolutional network (Kipf and Welling 2017) with BatchNorm and ReLU; mean pooling.

Shape letters: N nodes, E directed edges, G graphs, C width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GCNConv, global_mean_pool

from models.self_loops import with_self_loops


class GCN(nn.Module):
    """Regression of one number per graph from node types and edges; bond types are not seen.

    Paper 1's released code has it beside GAT, at the same width and depth: 0.27M parameters. No residual connections.

    Args:
        atom_types: number of node types.
        num_layers: convolutions.
        width: C.
    """

    def __init__(self, *, atom_types: int, num_layers: int = 4, width: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(atom_types, width)
        # The edge weights, the same for all layers, are computed once, below.
        self.convs = nn.ModuleList(GCNConv(width, width, normalize=False) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(num_layers))
        self.head = nn.Linear(width, 1)

    def forward(self, atoms_N: Tensor, edge_index_2E: Tensor, graph_N: Tensor, num_graphs: int) -> Tensor:
        """Predict one number per graph.

        Args:
            atoms_N: int64 node types.
            edge_index_2E: int64 source and target nodes, without self-loops.
            graph_N: int64 graph of each node.
            num_graphs: G.

        Returns:
            ``[G]``.
        """
        edge_index_2E = with_self_loops(edge_index_2E, len(atoms_N))
        source_E, target_E = edge_index_2E
        x_NC = self.embed(atoms_N)
        ones_E = torch.ones(len(target_E), dtype=torch.float32, device=target_E.device)
        # With its self-loop, every node has a degree of 1 or more.
        scale_N = ones_E.new_zeros(len(atoms_N)).index_add(0, target_E, ones_E).rsqrt()
        weight_E = scale_N[source_E] * scale_N[target_E]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_NC = F.relu(norm(conv(x_NC, edge_index_2E, weight_E)))
        return self.head(global_mean_pool(x_NC, graph_N, size=num_graphs)).squeeze(-1)
