"""Many graphs as a few flat arrays: on disk one ``.npy`` file per array and split, in memory the same, mapped.

Graph ``g`` has the nodes ``node_offsets[g] : node_offsets[g + 1]`` and the directed edges
``edge_offsets[g] : edge_offsets[g + 1]``; edges name atoms by their number within the graph.

Shape letters: G graphs, N nodes, E directed edges.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Graphs:
    """A set of graphs, in memory or mapped.

    Attributes:
        atoms: atom types, uint8 ``[N]``.
        edges: source and target of each edge, numbers within the graph, uint16 ``[2, E]``.
        bonds: bond types, uint8 ``[E]``.
        targets: target of each graph, float32 ``[G]``.
        node_offsets: first node of each graph, and the end, int64 ``[G + 1]``.
        edge_offsets: first edge of each graph, and the end, int64 ``[G + 1]``.
    """

    atoms: np.ndarray
    edges: np.ndarray
    bonds: np.ndarray
    targets: np.ndarray
    node_offsets: np.ndarray
    edge_offsets: np.ndarray

    def __len__(self) -> int:
        """Number of graphs."""
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


def one_graph(atoms: np.ndarray, edges: np.ndarray, bonds: np.ndarray, target: float) -> Graphs:
    """A set of a single graph; the arguments are as in `Graphs`."""
    return Graphs(
        atoms, edges, bonds, np.array([target]), offsets(np.array([len(atoms)])), offsets(np.array([len(bonds)]))
    )


def join_graphs(parts: list[Graphs]) -> Graphs:
    """All graphs of all parts, in order; the list may be empty."""
    no_bytes, no_sizes = np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int64)
    return Graphs(
        atoms=np.concatenate([no_bytes, *(p.atoms for p in parts)]),
        edges=np.concatenate([np.zeros((2, 0), dtype=np.uint16), *(p.edges for p in parts)], axis=1),
        bonds=np.concatenate([no_bytes, *(p.bonds for p in parts)]),
        targets=np.concatenate([np.zeros(0), *(p.targets for p in parts)], dtype=np.float32, casting="same_kind"),
        node_offsets=offsets(np.concatenate([no_sizes, *(p.nodes_per_graph for p in parts)])),
        edge_offsets=offsets(np.concatenate([no_sizes, *(np.diff(p.edge_offsets) for p in parts)])),
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
