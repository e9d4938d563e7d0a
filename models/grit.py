"""GRIT, a graph transformer without message passing (Ma et al. 2023, arXiv 2305.17589), as paper 1 trains it.

Every atom attends to every atom of its graph; each ordered pair carries features of its own, which start from
relative random walk probabilities and the bond, gate the attention and are updated by it.

Shape letters: N nodes, E directed edges, P ordered pairs of nodes of the same graph (self-pairs included), G graphs,
K walk lengths, C width, H heads, D head dim (C / H rounded down).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.message_passing import collect, lift, sum_pool
from models.node_norm import NodeNorm

CLAMP = 5.0
"""Attention scores are clamped to this magnitude, so that their exponentials need no shift."""


def signed_sqrt(x: Tensor) -> Tensor:
    """Square root of the magnitude, with the sign of ``x``; its gradient at zero is zero."""
    # The backward pass of relu selects: the infinite slope of the root at zero, multiplied by 0, would give NaN.
    return torch.sqrt(F.relu(x)) - torch.sqrt(F.relu(-x))


class PairAttention(nn.Module):
    """Attention whose scores are pair features modulated by both nodes (equation 2 of arXiv 2305.17589).

    For a target i and a source j with pair features e::

        u = relu(signed_sqrt((Q x_i + K x_j) * W e) + B e)        per head, [D]
        attention_ij = softmax over j of clamp(a . u)
        out_i = sum_j attention_ij (V x_j + R u),     new pair features u

    Args:
        width: C.
        num_heads: H.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = width // num_heads
        inner = head_dim * num_heads
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.pair = nn.Linear(width, 2 * inner)
        self.score_DH = nn.Parameter(torch.empty(head_dim, num_heads))
        self.relation_DHD = nn.Parameter(torch.empty(head_dim, num_heads, head_dim))
        for layer in (self.query, self.key, self.value, self.pair):
            nn.init.xavier_normal_(layer.weight)
        # The reference keeps these as [D, H, 1] and [D, H, D]; the trailing axis decides the spread.
        nn.init.xavier_normal_(self.score_DH.data.unsqueeze(-1))
        nn.init.xavier_normal_(self.relation_DHD)

    def forward(self, x_NC: Tensor, e_PC: Tensor, pair_index_2P: Tensor) -> tuple[Tensor, Tensor]:
        """New node features ``[N, H * D]`` and pair features ``[P, H * D]``."""
        source_P, target_P = pair_index_2P
        heads = (self.num_heads, -1)
        gate_PHD, shift_PHD = self.pair(e_PC).unflatten(-1, (self.num_heads, 2, -1)).unbind(-2)
        nodes_PHD = (lift(self.key(x_NC), source_P) + lift(self.query(x_NC), target_P)).unflatten(-1, heads)
        u_PHD = F.relu(signed_sqrt(nodes_PHD * gate_PHD) + shift_PHD)
        score_PH = torch.einsum("phd,dh->ph", u_PHD, self.score_DH).clamp(-CLAMP, CLAMP)
        weight_PH = score_PH.exp()
        share_PH = weight_PH / lift(collect(weight_PH, target_P, len(x_NC)), target_P)
        value_PHD = lift(self.value(x_NC), source_P).unflatten(-1, heads)
        # One sum over sources for both kinds of message.
        message_PHD = torch.cat([value_PHD, u_PHD], dim=-1) * share_PH.unsqueeze(-1)
        value_NHD, relation_NHD = collect(message_PHD, target_P, len(x_NC)).chunk(2, dim=-1)
        y_NHD = value_NHD + torch.einsum("nhd,dhc->nhc", relation_NHD, self.relation_DHD)
        return y_NHD.flatten(-2), u_PHD.flatten(-2)


class Block(nn.Module):
    """Attention with degree scaling, then an MLP on nodes; residuals, each followed by BatchNorm.

    Args:
        width: C.
        num_heads: H.
        updates_pairs: whether the pair features change; where not, the parameters for it are there but not trained.
    """

    def __init__(self, width: int, num_heads: int, *, updates_pairs: bool = True) -> None:
        super().__init__()
        inner = width // num_heads * num_heads
        self.updates_pairs = updates_pairs
        self.attn = PairAttention(width, num_heads)
        self.degree_C2 = nn.Parameter(torch.empty(inner, 2))
        nn.init.xavier_normal_(self.degree_C2.data.unsqueeze(0))
        self.node_out = nn.Linear(inner, width)
        self.pair_out = nn.Linear(inner, width)
        self.node_norm1 = NodeNorm(width)
        self.pair_norm = NodeNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)
        self.node_norm2 = NodeNorm(width)
        for layer in (self.pair_out, self.pair_norm):
            layer.requires_grad_(updates_pairs)

    def forward(
        self,
        x_NC: Tensor,
        e_PC: Tensor,
        pair_index_2P: Tensor,
        log_degree_N1: Tensor,
        real_N1: Tensor | None,
        real_P1: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Features of nodes ``[N, C]`` and pairs ``[P, C]`` after the block; ``real``: rows that are no filler."""
        y_NC, u_PC = self.attn(x_NC, e_PC, pair_index_2P)
        plain_C, scaled_C = self.degree_C2.unbind(-1)
        y_NC = y_NC * plain_C + y_NC * log_degree_N1.to(y_NC.dtype) * scaled_C
        x_NC = self.node_norm1(x_NC + self.node_out(y_NC), real_N1)
        if self.updates_pairs:
            e_PC = self.pair_norm(e_PC + self.pair_out(u_PC), real_P1)
        return self.node_norm2(x_NC + self.fc2(F.relu(self.fc1(x_NC))), real_N1), e_PC


@dataclasses.dataclass(kw_only=True, eq=False)
class GRITSettings:
    """Settings of `GRIT`; the defaults are paper 1's."""

    num_layers: int = dataclasses.field(default=6, metadata={"at_least": 1, "at_most": 1000})
    """Blocks of the network."""

    num_heads: int = dataclasses.field(default=6, metadata={"at_least": 1})
    """Attention heads per block; at width 64 each has 10 features and the attention 60."""

    width: int = dataclasses.field(default=64, metadata={"at_least": 1})
    """Features per node and per pair of nodes."""


class Pairs(NamedTuple):
    """All ordered pairs of atoms of the same molecule, for attention over whole molecules.

    Attributes:
        index: source and target atom, int64 ``[2, P]``, sorted by target.
        of_edge: number of the pair of each edge's atoms, int64 ``[E]``.
        of_node: number of the pair of each atom with itself, int64 ``[N]``.
        rrwp: relative random walk probabilities, float32 ``[P, K]``.
    """

    index: Tensor
    of_edge: Tensor
    of_node: Tensor
    rrwp: Tensor


class GRIT(nn.Module):
    """Regression of one number per graph (paper 1, appendix A.7): 0.27M parameters, sum pooling, no dropout.

    As in the paper's released code, nothing reads the pair features after the last block: its ``pair_out`` and
    ``pair_norm`` count among the parameters, but nothing computes with them and nothing trains them.

    Args:
        settings: settings of the network; they are not kept.
        atom_types: number of node types.
        bond_types: number of edge types.
        rrwp_steps: K, the identity included.

    Raises:
        ValueError: there are more heads than features.
    """

    def __init__(self, settings: GRITSettings, *, atom_types: int, bond_types: int, rrwp_steps: int) -> None:
        super().__init__()
        width, num_heads = settings.width, settings.num_heads
        if num_heads > width:
            raise ValueError(f"num_heads must not exceed width, got num_heads {num_heads} and width {width}.")
        self.atom_embed = nn.Embedding(atom_types, width)
        self.bond_embed = nn.Embedding(bond_types, width)
        self.node_rrwp = nn.Linear(rrwp_steps, width, bias=False)
        self.pair_rrwp = nn.Linear(rrwp_steps, width, bias=False)
        nn.init.xavier_uniform_(self.node_rrwp.weight)
        nn.init.xavier_uniform_(self.pair_rrwp.weight)
        last = settings.num_layers - 1
        self.blocks = nn.ModuleList(Block(width, num_heads, updates_pairs=i < last) for i in range(last + 1))
        self.head = nn.Linear(width, 1)

    def forward(
        self,
        atoms_N: Tensor,
        edge_index_2E: Tensor,
        bonds_E: Tensor,
        graph_N: Tensor,
        pairs: Pairs,
        num_graphs: int,
        filled: bool = False,
    ) -> Tensor:
        """Predict one number per graph.

        Args:
            atoms_N: int64 node types.
            edge_index_2E: int64 source and target nodes.
            bonds_E: int64 edge types.
            graph_N: int64 graph of each node.
            pairs: all ordered pairs of nodes of the same graph.
            num_graphs: G.
            filled: whether filler follows, which gives batches one shape and changes no prediction: nodes of a graph
                of number G, and edges and pairs among them.

        Returns:
            ``[G]``.
        """
        rrwp_PK = pairs.rrwp.to(self.pair_rrwp.weight.dtype)
        ones_E = rrwp_PK.new_ones(len(bonds_E))
        log_degree_N1 = torch.log1p(collect(ones_E, edge_index_2E[1], len(atoms_N))).unsqueeze(-1)
        x_NC = self.atom_embed(atoms_N) + self.node_rrwp(lift(rrwp_PK, pairs.of_node))
        bonds_EC = self.bond_embed(bonds_E)
        e_PC = self.pair_rrwp(rrwp_PK)
        # A pair without a bond has the random walk probabilities alone.
        e_PC = e_PC + collect(bonds_EC, pairs.of_edge, len(rrwp_PK))
        real_N1 = (graph_N < num_graphs).unsqueeze(-1) if filled else None
        real_P1 = None if real_N1 is None else real_N1[pairs.index[1]]
        for block in self.blocks:
            x_NC, e_PC = block(x_NC, e_PC, pairs.index, log_degree_N1, real_N1, real_P1)
        return self.head(sum_pool(x_NC, graph_N, num_graphs)).squeeze(-1)
