"""Graph convolutional network (Kipf and Welling 2017) with BatchNorm and ReLU; mean pooling.

Shape letters: N nodes, E directed edges, G graphs, C width.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GCNConv

from models.message_passing import collect, lift, mean_pool
from models.node_norm import NodeNorm
from models.self_loops import with_self_loops


class RowConv(GCNConv):
    """PyG's layer with its own parameters and values, computed by row copies (`models.message_passing`).

    Args:
        width: C, of input and output.
    """

    def __init__(self, width: int) -> None:
        # The edge weights, the same for all layers, are computed once, by the network.
        super().__init__(width, width, normalize=False)

    def forward(self, x_NC: Tensor, edge_index_2E: Tensor, weight_E1: Tensor) -> Tensor:  # type: ignore[override]
        """One convolution; shapes as in `GCN`."""
        source_E, target_E = edge_index_2E
        return collect(lift(self.lin(x_NC), source_E) * weight_E1, target_E, len(x_NC)) + self.bias


@dataclasses.dataclass(kw_only=True, eq=False)
class GCNSettings:
    """Settings of `GCN`; the defaults are those of paper 1's released code."""

    num_layers: int = dataclasses.field(default=4, metadata={"at_least": 1, "at_most": 1000})
    """Convolutions."""

    width: int = dataclasses.field(default=256, metadata={"at_least": 1})
    """Features per node."""


class GCN(nn.Module):
    """Regression of one number per graph from node types and edges; bond types are not used.

    Paper 1's released code has it beside GAT, at the same width and depth: 0.27M parameters, no residual connections.

    Args:
        settings: settings of the network; they are not kept.
        atom_types: number of node types.
    """

    def __init__(self, settings: GCNSettings, *, atom_types: int) -> None:
        super().__init__()
        width, num_layers = settings.width, settings.num_layers
        self.embed = nn.Embedding(atom_types, width)
        self.convs = nn.ModuleList(RowConv(width) for _ in range(num_layers))
        self.norms = nn.ModuleList(NodeNorm(width) for _ in range(num_layers))
        self.head = nn.Linear(width, 1)

    def forward(
        self, atoms_N: Tensor, edge_index_2E: Tensor, graph_N: Tensor, num_graphs: int, filled: bool = False
    ) -> Tensor:
        """Predict one number per graph.

        Args:
            atoms_N: int64 node types.
            edge_index_2E: int64 source and target nodes, without self-loops.
            graph_N: int64 graph of each node.
            num_graphs: G.
            filled: whether filler follows, which gives batches one shape and changes no prediction: nodes of a graph
                of number G, and edges among them.

        Returns:
            ``[G]``.
        """
        edge_index_2E = with_self_loops(edge_index_2E, len(atoms_N))
        source_E, target_E = edge_index_2E
        real_N1 = (graph_N < num_graphs).unsqueeze(-1) if filled else None
        x_NC = self.embed(atoms_N)
        ones_E = torch.ones(len(target_E), dtype=torch.float32, device=target_E.device)
        # With its self-loop, every node has a degree of 1 or more.
        scale_N = ones_E.new_zeros(len(atoms_N)).index_add(0, target_E, ones_E).rsqrt()
        weight_E1 = (scale_N[source_E] * scale_N[target_E]).unsqueeze(-1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_NC = F.relu(norm(conv(x_NC, edge_index_2E, weight_E1), real_N1))
        return self.head(mean_pool(x_NC, graph_N, num_graphs)).squeeze(-1)
