"""Many graphs as a few flat arrays: on disk one ``.npy`` file per array and split, in memory the same, mapped.

Graph ``g`` has the nodes ``node_offsets[g] : node_offsets[g + 1]`` and the directed edges
``edge_offsets[g] : edge_offsets[g + 1]``; edges name atoms by their number within the graph. A batch is a gather of
ranges, computed for all of its graphs at once.

Shape letters: G graphs, N nodes, E directed edges, P ordered pairs of nodes of the same graph, K walk lengths.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Graphs:
    """A set of graphs, in memory or mapped.

    Attributes:
        atoms: atom types, uint8 ``[N]``.
        edges: source and target of each edge, numbers within the graph, uint16 ``[2, E]``.
        bonds: bond types, uint8 ``[E]``.
        targets: float32 ``[G]``.
        node_offsets: int64 ``[G + 1]``.
        edge_offsets: int64 ``[G + 1]``.
    """

    atoms: np.ndarray
    edges: np.ndarray
    bonds: np.ndarray
    targets: np.ndarray
    node_offsets: np.ndarray
    edge_offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def nodes_per_graph(self) -> np.ndarray:
        """Nodes of each graph, int64 ``[G]``."""
        return np.diff(self.node_offsets)

    def sizes(self, *, pairs: bool) -> np.ndarray:
        """Nodes, edges and (if asked for; else 0) ordered pairs of each graph, int64 ``[3, G]``."""
        nodes = self.nodes_per_graph
        return np.stack([nodes, np.diff(self.edge_offsets), nodes**2 if pairs else np.zeros_like(nodes)])

    def select(self, indices: np.ndarray) -> Graphs:
        """Some of the graphs, int64 ``[g]``, in that order."""
        nodes, edges = self.nodes_per_graph[indices], np.diff(self.edge_offsets)[indices]
        edge_rows = ranges(self.edge_offsets[indices], edges)
        return Graphs(
            atoms=self.atoms[ranges(self.node_offsets[indices], nodes)],
            edges=self.edges[:, edge_rows],
            bonds=self.bonds[edge_rows],
            targets=self.targets[indices],
            node_offsets=offsets(nodes),
            edge_offsets=offsets(edges),
        )

    def save(self, folder: Path, split: str) -> list[Path]:
        """Write one file per array; returns their paths."""
        paths = []
        for field in fields(self):
            paths.append(folder / f"{split}.{field.name}.npy")
            np.save(paths[-1], getattr(self, field.name))
        return paths


def map_graphs(folder: Path, split: str) -> Graphs:
    """Map the arrays that `Graphs.save` wrote, read-only."""
    arrays = {}
    for field in fields(Graphs):
        array = np.load(folder / f"{split}.{field.name}.npy", mmap_mode="r")
        # A plain view of the same memory: indexing the memmap class costs several times more.
        arrays[field.name] = np.asarray(array)
    return Graphs(**arrays)


def join_graphs(parts: list[Graphs]) -> Graphs:
    """All graphs of all parts, in order."""
    return Graphs(
        atoms=np.concatenate([p.atoms for p in parts]),
        edges=np.concatenate([p.edges for p in parts], axis=1),
        bonds=np.concatenate([p.bonds for p in parts]),
        targets=np.concatenate([p.targets for p in parts]),
        node_offsets=offsets(np.concatenate([p.nodes_per_graph for p in parts])),
        edge_offsets=offsets(np.concatenate([np.diff(p.edge_offsets) for p in parts])),
    )


def offsets(counts: np.ndarray) -> np.ndarray:
    """Where each of some consecutive ranges starts, and where the last one ends; int64 ``[n + 1]``."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The integers of several ranges, one range after the other.

    Args:
        starts: first integer of each range, int64 ``[n]``.
        counts: length of each range, int64 ``[n]``.

    Returns:
        int64 ``[counts.sum()]``.
    """
    ends = np.cumsum(counts)
    numbers = np.repeat(starts - ends + counts, counts)
    numbers += np.arange(len(numbers))
    return numbers


class PairArrays(NamedTuple):
    """All ordered pairs of nodes of the same graph, for attention over whole graphs.

    Attributes:
        pair_index: source and target node, int64 ``[2, P]``, sorted by target.
        pair_rows: row of each pair in the split's array over pairs, int64 ``[P]``.
        edge_pair: pair that each edge is, int64 ``[E]``.
        self_pair: pair of each node with itself, int64 ``[N]``.
    """

    pair_index: np.ndarray
    pair_rows: np.ndarray
    edge_pair: np.ndarray
    self_pair: np.ndarray


class BatchArrays(NamedTuple):
    """Several batches of equally many graphs, one after the other; node numbers begin anew with each batch.

    Attributes:
        atoms: int64 ``[N]``.
        edge_index: int64 ``[2, E]``.
        bonds: int64 ``[E]``.
        graph: graph of each node within its batch, int64 ``[N]``.
        target: float32 ``[G]``.
        nodes: nodes of each batch, int64 ``[batches]``.
        edges: edges of each batch, int64 ``[batches]``.
        pairs: pairs of each batch, int64 ``[batches]``.
        pair_arrays: None unless asked for.
    """

    atoms: np.ndarray
    edge_index: np.ndarray
    bonds: np.ndarray
    graph: np.ndarray
    target: np.ndarray
    nodes: np.ndarray
    edges: np.ndarray
    pairs: np.ndarray
    pair_arrays: PairArrays | None


def gather_batches(graphs: Graphs, indices: np.ndarray, pair_offsets: np.ndarray | None = None) -> BatchArrays:
    """Gather several batches at once.

    Args:
        graphs: the split.
        indices: graph numbers, int64 ``[batches, n]``.
        pair_offsets: first row of each graph in the split's array over pairs, int64 ``[G + 1]``; None: no pairs.
    """
    batches, size = indices.shape
    chosen = indices.reshape(-1)
    first_node, first_edge = graphs.node_offsets[chosen], graphs.edge_offsets[chosen]
    nodes = graphs.node_offsets[chosen + 1] - first_node
    edges = graphs.edge_offsets[chosen + 1] - first_edge
    pairs = nodes * nodes
    node_start, pair_start = _starts(nodes, batches), _starts(pairs, batches)
    edge_rows = ranges(first_edge, edges)
    local = graphs.edges[:, edge_rows].astype(np.int64)
    pair_arrays = None
    if pair_offsets is not None:
        nodes_of_graph = np.repeat(nodes, nodes)
        node_in_graph = ranges(np.zeros_like(nodes), nodes)
        start = np.repeat(node_start, nodes)
        # Every node is the target of as many pairs as its graph has nodes.
        pair_index = np.empty((2, int(pairs.sum())), dtype=np.int64)
        pair_index[0] = ranges(start, nodes_of_graph)
        pair_index[1] = np.repeat(start + node_in_graph, nodes_of_graph)
        pair_arrays = PairArrays(
            pair_index=pair_index,
            pair_rows=ranges(pair_offsets[chosen], pairs),
            edge_pair=np.repeat(pair_start, edges) + local[1] * np.repeat(nodes, edges) + local[0],
            self_pair=np.repeat(pair_start, nodes) + node_in_graph * (nodes_of_graph + 1),
        )
    return BatchArrays(
        atoms=graphs.atoms[ranges(first_node, nodes)].astype(np.int64),
        edge_index=local + np.repeat(node_start, edges),
        bonds=graphs.bonds[edge_rows].astype(np.int64),
        graph=np.repeat(np.tile(np.arange(size), batches), nodes),
        target=graphs.targets[chosen],
        nodes=nodes.reshape(batches, size).sum(axis=1),
        edges=edges.reshape(batches, size).sum(axis=1),
        pairs=pairs.reshape(batches, size).sum(axis=1),
        pair_arrays=pair_arrays,
    )


def _starts(counts: np.ndarray, batches: int) -> np.ndarray:
    """Where each graph starts within its batch, int64 ``[batches * n]``."""
    starts = (np.cumsum(counts) - counts).reshape(batches, -1)
    return (starts - starts[:, :1]).reshape(-1)
