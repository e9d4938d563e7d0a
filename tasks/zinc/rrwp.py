"""Relative random walk probabilities (RRWP), the positions that GRIT sees (Ma et al., arXiv 2305.17589).

For a graph with adjacency A and degrees D the walk matrix is ``M = D^-1 A``, and the pair (source j, target i) has
``[I, M, M^2, ..., M^(K-1)][i, j]``: how likely a walk from i is at j after k steps. A node without edges has
zeros but for the identity. They are computed once, in float32 whatever the training's precision, and kept so
beside the graphs.

The array of a split is ``[P, K]``: graph by graph, for each target all sources.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.kinds.array_files import mapped_array
from tasks.kinds.prepared_folder import prepare_folder, require_space
from tasks.zinc.graph_files import SPLITS, Graphs, map_graphs, offsets, ranges

DTYPE = np.float32

_CHUNK_PAIRS = 1 << 20


def pair_offsets(graphs: Graphs) -> np.ndarray:
    """First pair of each graph, int64 ``[G + 1]``."""
    return offsets(graphs.nodes_per_graph**2)


def prepare_rrwp(folder: Path, steps: int, *, workers: int) -> None:
    """Compute the RRWP of both splits if they are not there yet; safe to call from several processes, after a kill.

    Args:
        folder: prepared graphs.
        steps: K, the identity included.
        workers: threads (the matrix products release the interpreter lock).

    Raises:
        ValueError: the disk is too small.
    """
    splits = {split: map_graphs(folder, split) for split in SPLITS}

    def work(working: Path) -> None:
        needed = sum(int(pair_offsets(g)[-1]) for g in splits.values()) * steps * np.dtype(DTYPE).itemsize
        require_space(working, needed, what="random walk probabilities", less="data.rrwp_steps")
        for split, graphs in splits.items():
            write_rrwp(graphs, steps, working / f"{split}.npy", workers=workers)

    prepare_folder(_folder(folder, steps), work, goes_on=False)


def _folder(folder: Path, steps: int) -> Path:
    return folder / f"rrwp{steps}-{np.dtype(DTYPE).name}"


class Walks(NamedTuple):
    """The RRWP of one split.

    Attributes:
        first: first pair of each graph, int64 ``[G + 1]``.
        rrwp: float32 ``[P, K]``, mapped read-only.
    """

    first: np.ndarray
    rrwp: np.ndarray


def map_rrwp(folder: Path, steps: int, split: str, graphs: Graphs) -> Walks:
    """The RRWP of a split with these graphs."""
    rrwp = np.load(_folder(folder, steps) / f"{split}.npy", mmap_mode="r")
    return Walks(pair_offsets(graphs), np.asarray(rrwp))


def write_rrwp(graphs: Graphs, steps: int, path: Path, *, workers: int) -> None:
    """Compute the RRWP of all graphs into one file, several chunks at a time."""
    first = pair_offsets(graphs)
    out = mapped_array(path, DTYPE, (int(first[-1]), steps))
    cuts = np.unique(np.searchsorted(first, np.arange(0, first[-1], _CHUNK_PAIRS)))
    bounds = list(zip(cuts, [*cuts[1:], len(graphs)], strict=True))

    def work(bound: tuple[int, int]) -> None:
        out[first[bound[0]] : first[bound[1]]] = rrwp(graphs.select(np.arange(*bound)), steps)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for _ in pool.map(work, bounds):
            pass
    out.flush()


def rrwp(graphs: Graphs, steps: int) -> np.ndarray:
    """The RRWP of some graphs, float32 ``[P, K]``; graphs with equally many nodes are computed together."""
    first = pair_offsets(graphs)
    out = np.empty((int(first[-1]), steps), dtype=DTYPE)
    sizes = graphs.nodes_per_graph
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        powers = _walks(graphs.select(chosen), int(size), steps)
        out[ranges(first[chosen], sizes[chosen] ** 2)] = powers.reshape(-1, steps)
    return out


def _walks(graphs: Graphs, size: int, steps: int) -> np.ndarray:
    """Powers of the walk matrices of graphs with ``size`` nodes each, float32 ``[G, size, size, K]``."""
    adjacency = np.zeros((len(graphs), size, size), dtype=DTYPE)
    graph = np.repeat(np.arange(len(graphs)), np.diff(graphs.edge_offsets))
    adjacency[graph, graphs.edges[0], graphs.edges[1]] = 1
    degree = adjacency.sum(axis=2, keepdims=True)
    walk = adjacency / np.maximum(degree, 1)
    out = np.empty((len(graphs), size, size, steps), dtype=DTYPE)
    power = np.broadcast_to(np.eye(size, dtype=DTYPE), walk.shape)
    for k in range(steps):
        out[..., k] = power
        if k + 1 < steps:
            power = power @ walk
    return out
