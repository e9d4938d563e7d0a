"""Batches of molecules, and batches filled up to one shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.grit import Pairs
from tasks.zinc.graph_files import Graphs, ranges
from tasks.zinc.rrwp import Walks


class MoleculeBatch(NamedTuple):
    """A batch of G molecules as one graph with N atoms and E directed edges, as PyTorch Geometric lays it out.

    Attributes:
        atoms: atom types, int64 ``[N]``.
        edge_index: source and target atom of each edge, int64 ``[2, E]``.
        bonds: bond types, int64 ``[E]``.
        graph: molecule of each atom, ascending, int64 ``[N]``.
        target: target of each molecule, float32 ``[G]``.
        num_graphs: G.
        pairs: for architectures that attend to whole molecules; else None.
        filled: whether the last atoms, edges and pairs are filler, see `filled`.
    """

    atoms: Tensor
    edge_index: Tensor
    bonds: Tensor
    graph: Tensor
    target: Tensor
    num_graphs: int
    pairs: Pairs | None = None
    filled: bool = False


def gather_batches(graphs: Graphs, indices: np.ndarray, walks: Walks | None = None) -> list[MoleculeBatch]:
    """Several batches, gathered at once; their tensors are views of common ones.

    The ranges are gathered for all graphs together; node numbers begin anew with each batch.

    Args:
        graphs: graphs of the split.
        indices: graph numbers, int64 ``[batches, n]``.
        walks: RRWP of the split, for batches with pairs; None: batches without pairs.
    """
    batches, size = indices.shape
    chosen = indices.reshape(-1)
    first_node, first_edge = graphs.node_offsets[chosen], graphs.edge_offsets[chosen]
    nodes = graphs.node_offsets[chosen + 1] - first_node
    edges = graphs.edge_offsets[chosen + 1] - first_edge
    nodes_of_batch, edges_of_batch = _of_batches(nodes, batches), _of_batches(edges, batches)
    node_start = _starts(nodes, batches)
    edge_rows = ranges(first_edge, edges)
    within_graph = graphs.edges[:, edge_rows].astype(np.int64)
    pairs: list[Pairs] | list[None] = [None] * batches
    if walks is not None:
        index, of_edge, of_node = _pairs(nodes, edges, within_graph, node_start, batches)
        pairs_of_batch = _of_batches(nodes * nodes, batches)
        rrwp = np.take(walks.rrwp, ranges(walks.first[chosen], nodes * nodes), axis=0)
        pairs = [
            Pairs(*tensors)
            for tensors in zip(
                torch.from_numpy(index).split(pairs_of_batch, dim=1),
                torch.from_numpy(of_edge).split(edges_of_batch),
                torch.from_numpy(of_node).split(nodes_of_batch),
                torch.from_numpy(rrwp).split(pairs_of_batch),
                strict=True,
            )
        ]
    return [
        MoleculeBatch(*tensors, num_graphs=size, pairs=of_batch)  # type: ignore[misc]
        for *tensors, of_batch in zip(
            torch.from_numpy(graphs.atoms[ranges(first_node, nodes)].astype(np.int64)).split(nodes_of_batch),
            torch.from_numpy(within_graph + np.repeat(node_start, edges)).split(edges_of_batch, dim=1),
            torch.from_numpy(graphs.bonds[edge_rows].astype(np.int64)).split(edges_of_batch),
            torch.from_numpy(np.repeat(np.tile(np.arange(size), batches), nodes)).split(nodes_of_batch),
            torch.from_numpy(graphs.targets[chosen]).split(size),
            pairs,
            strict=True,
        )
    ]


def _pairs(
    nodes: np.ndarray, edges: np.ndarray, within_graph: np.ndarray, node_start: np.ndarray, batches: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``index``, ``of_edge`` and ``of_node`` of all batches' pairs, see `Pairs`."""
    pair_start = _starts(nodes * nodes, batches)
    nodes_of_graph = np.repeat(nodes, nodes)
    node_in_graph = ranges(np.zeros_like(nodes), nodes)
    start = np.repeat(node_start, nodes)
    # Every node is the target of as many pairs as its graph has nodes.
    index = np.empty((2, int(nodes_of_graph.sum())), dtype=np.int64)
    index[0] = ranges(start, nodes_of_graph)
    index[1] = np.repeat(start + node_in_graph, nodes_of_graph)
    of_edge = np.repeat(pair_start, edges) + within_graph[1] * np.repeat(nodes, edges) + within_graph[0]
    return index, of_edge, np.repeat(pair_start, nodes) + node_in_graph * (nodes_of_graph + 1)


def _of_batches(counts: np.ndarray, batches: int) -> list[int]:
    """Sum of each batch's counts."""
    return counts.reshape(batches, -1).sum(axis=1).tolist()


def _starts(counts: np.ndarray, batches: int) -> np.ndarray:
    """Where each graph starts within its batch, int64 ``[batches * n]``."""
    starts = (np.cumsum(counts) - counts).reshape(batches, -1)
    return (starts - starts[:, :1]).reshape(-1)


class Room(NamedTuple):
    """Sizes of a filled batch.

    Attributes:
        atoms: N.
        edges: E.
        pairs: P; 0: batches have none.
    """

    atoms: int
    edges: int
    pairs: int


def rooms(sizes: np.ndarray, count: int) -> list[Room]:
    """Sizes of filled batches: the usual one, then one that holds every batch.

    Args:
        sizes: atoms, edges and pairs of every molecule, int64 ``[3, samples]``.
        count: molecules of a batch.
    """
    most = count * sizes.max(axis=1)
    # A sum of so many sizes lies above this once in some hundred thousand batches.
    usual = np.ceil(count * sizes.mean(axis=1) + 4.5 * count**0.5 * sizes.std(axis=1))
    both = (np.minimum(usual, most), most)
    # One atom more than a batch can have: filler edges and pairs lead to it.
    return [Room(int(one[0]) + 1, int(one[1]), int(one[2]) + 1 if most[2] else 0) for one in both]


def filled(batch: MoleculeBatch, choices: list[Room]) -> MoleculeBatch:
    """Fill a batch up to the first of some sizes that holds it.

    Filler atoms are of graph number G, which no target has; filler edges and pairs lead from the last atom to itself.

    Args:
        batch: a batch of G molecules.
        choices: see `rooms`; the last must hold the batch.
    """
    atoms, edges = len(batch.atoms), len(batch.bonds)
    pairs = 0 if batch.pairs is None else len(batch.pairs.rrwp)
    room = next(
        (r for r in choices if atoms < r.atoms and edges <= r.edges and pairs <= max(r.pairs - 1, 0)), choices[-1]
    )
    last, more_atoms, more_edges = room.atoms - 1, room.atoms - atoms, room.edges - edges
    of_pairs = batch.pairs
    if of_pairs is not None:
        more = room.pairs - pairs
        of_pairs = Pairs(
            index=F.pad(of_pairs.index, (0, more), value=last),
            of_edge=F.pad(of_pairs.of_edge, (0, more_edges), value=room.pairs - 1),
            of_node=F.pad(of_pairs.of_node, (0, more_atoms), value=room.pairs - 1),
            rrwp=F.pad(of_pairs.rrwp, (0, 0, 0, more)),
        )
    return MoleculeBatch(
        atoms=F.pad(batch.atoms, (0, more_atoms)),
        edge_index=F.pad(batch.edge_index, (0, more_edges), value=last),
        bonds=F.pad(batch.bonds, (0, more_edges)),
        graph=F.pad(batch.graph, (0, more_atoms), value=batch.num_graphs),
        target=batch.target,
        num_graphs=batch.num_graphs,
        pairs=of_pairs,
        filled=True,
    )
