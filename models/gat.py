"""Graph attention network (Velickovic et al. 2018) as paper 1 trains it: attention, BatchNorm, ReLU; mean pooling.

Shape letters: N nodes, E directed edges, G graphs, C width.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv

from models.message_passing import collect, highest, lift, mean_pool
from models.node_norm import NodeNorm
from models.self_loops import with_self_loops


class AttentionConv(GATConv):
    """PyG's layer with its own parameters and values, computed by row copies (`models.message_passing`).

    Args:
        width: C, of input and output.
        num_heads: attention heads; their outputs are concatenated.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        # The network adds the self-loops once: the layer would search for existing ones and wait for the device.
        super().__init__(width, width // num_heads, heads=num_heads, add_self_loops=False)

    def forward(self, x_NC: Tensor, edge_index_2E: Tensor) -> Tensor:  # type: ignore[override]
        """One layer of attention; shapes as in `GAT`."""
        source_E, target_E = edge_index_2E
        size = x_NC.shape[0]
        h_NHD = self.lin(x_NC).unflatten(-1, (self.heads, self.out_channels))
        from_NH, to_NH = (h_NHD * self.att_src).sum(-1), (h_NHD * self.att_dst).sum(-1)
        score_EH = F.leaky_relu(lift(from_NH, source_E) + lift(to_NH, target_E), self.negative_slope)
        weight_EH = (score_EH - lift(highest(score_EH, target_E, size), target_E)).exp()
        sum_NHD = collect(lift(h_NHD, source_E) * weight_EH.unsqueeze(-1), target_E, size)
        norm_NH = collect(weight_EH, target_E, size) + 1e-16
        return (sum_NHD / norm_NH.unsqueeze(-1)).flatten(-2) + self.bias


@dataclasses.dataclass(kw_only=True, eq=False)
class GATSettings:
    """Settings of `GAT`; the defaults are paper 1's."""

    num_layers: int = dataclasses.field(default=4, metadata={"at_least": 1, "at_most": 1000})
    """Convolutions."""

    num_heads: int = dataclasses.field(default=8, metadata={"at_least": 1})
    """Attention heads per convolution; their outputs are concatenated."""

    width: int = dataclasses.field(default=256, metadata={"at_least": 1})
    """Features per node, divisible by the heads."""


class GAT(nn.Module):
    """Regression of one number per graph from node types and edges; bond types are not used.

    Paper 1, appendix A.7: 0.27M parameters. No residual connections.

    Args:
        settings: settings of the network; they are not kept.
        atom_types: number of node types.

    Raises:
        ValueError: the width is not divisible by the number of heads.
    """

    def __init__(self, settings: GATSettings, *, atom_types: int) -> None:
        super().__init__()
        width, num_heads = settings.width, settings.num_heads
        if width % num_heads:
            raise ValueError(f"width must be divisible by num_heads, got width {width} and num_heads {num_heads}.")
        self.embed = nn.Embedding(atom_types, width)
        self.convs = nn.ModuleList(AttentionConv(width, num_heads) for _ in range(settings.num_layers))
        self.norms = nn.ModuleList(NodeNorm(width) for _ in range(settings.num_layers))
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
        real_N1 = (graph_N < num_graphs).unsqueeze(-1) if filled else None
        x_NC = self.embed(atoms_N)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_NC = F.relu(norm(conv(x_NC, edge_index_2E), real_N1))
        return self.head(mean_pool(x_NC, graph_N, num_graphs)).squeeze(-1)
