"""Graph attention network (Velickovic et al. 2018) as paper 1 trains it: attention, BatchNorm, ReLU; mean pooling.

Shape letters: N nodes, E directed edges, G graphs, C width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv, global_mean_pool

from models.self_loops import with_self_loops


class GAT(nn.Module):
    """Regression of one number per graph from node types and edges; bond types are not seen.

    Paper 1, appendix A.7: 0.27M parameters. No residual connections.

    Args:
        atom_types: number of node types.
        num_layers: convolutions.
        num_heads: attention heads; their outputs are concatenated.
        width: C, divisible by the heads.

    Raises:
        ValueError: the width does not divide.
    """

    def __init__(self, *, atom_types: int, num_layers: int = 4, num_heads: int = 8, width: int = 256) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width must be divisible by num_heads, got width {width} and num_heads {num_heads}.")
        self.embed = nn.Embedding(atom_types, width)
        # The self-loops are added once, below: the layer would look for existing ones, which waits for the device.
        self.convs = nn.ModuleList(
            GATConv(width, width // num_heads, heads=num_heads, add_self_loops=False) for _ in range(num_layers)
        )
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
        x_NC = self.embed(atoms_N)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_NC = F.relu(norm(conv(x_NC, edge_index_2E)))
        return self.head(global_mean_pool(x_NC, graph_N, size=num_graphs)).squeeze(-1)
