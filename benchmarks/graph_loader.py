"""Molecules per second of the suite's loader against PyTorch Geometric's `DataLoader` and `Batch.from_data_list`.

All give the same tensors. Runs take turns, so that a busy machine slows all; the table shows medians, and the medians
of the ratios within a round. Expected ratio to `Batch.from_data_list`: at least 10 for bonds alone, at least 5 with all
pairs of atoms and their random walk probabilities, where most of the time is copying.

    python benchmarks/graph_loader.py [--batch-size 64] [--source sample] [--molecules 1000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Batch
from torch_geometric.data import Data as PyGData
from torch_geometric.loader import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.zinc.batch import MoleculeBatch
from tasks.zinc.data import Zinc


class WithPairs(PyGData):
    """A graph with its pairs, whose numbers grow with the batch."""

    def __inc__(self, key: str, value: Any, *args: Any) -> Any:
        return self.num_nodes**2 if key in ("of_edge", "of_node") else super().__inc__(key, value, *args)


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--source", default="sample", help="sample, or the path of a CSV file with a column smiles")
    parser.add_argument("--molecules", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"batch size {options.batch_size}, {options.rounds} rounds; thousand molecules/s")
    print(f"{'':26}{'blocks':>10}{'from_data_list':>16}{'ratio':>8}{'DataLoader':>12}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, steps in (("bonds (GAT, GCN)", 0), ("bonds and pairs (GRIT)", 21)):
            data = Zinc(
                batch_size=options.batch_size,
                source=options.source,
                max_molecules=options.molecules,
                data_dir=folder,
                rrwp_steps=steps,
                num_workers=1,
            )
            data.ensure_open()
            report(name, compare(data, options.rounds))


def compare(data: Zinc, rounds: int) -> dict[str, list[float]]:
    """Molecules per second of each loader, round by round."""
    samples = [as_pyg(data.gather("train", np.array([i]))) for i in range(data.train_samples)]
    check_same(data, samples)
    rates: dict[str, list[float]] = {"blocks": [], "list": [], "loader": []}
    for round_number in range(rounds):
        data.seed = round_number
        plan = data.plan()
        rows = [plan.indices(step)[0] for step in range(plan.steps)]
        loaders: dict[str, Callable[[], Iterator[Any]]] = {
            "blocks": lambda plan=plan: (micro for block in data.blocks(plan, 0) for step in block for micro in step),
            "list": lambda rows=rows: (Batch.from_data_list([samples[i] for i in row]) for row in rows),
            "loader": lambda: iter(DataLoader(samples, batch_size=data.batch_size, shuffle=True, drop_last=True)),
        }
        for name, loader in loaders.items():
            start = time.perf_counter()
            molecules = sum(batch.num_graphs for batch in loader())
            rates[name].append(molecules / (time.perf_counter() - start))
    return rates


def report(name: str, rates: dict[str, list[float]]) -> None:
    """Print one line."""

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates["blocks"], rates[other], strict=True))

    blocks, from_list, loader = (statistics.median(rates[key]) / 1e3 for key in ("blocks", "list", "loader"))
    print(f"{name:26}{blocks:10.1f}{from_list:16.2f}{ratio('list'):8.1f}{loader:12.2f}{ratio('loader'):8.1f}")


def as_pyg(batch: MoleculeBatch) -> PyGData:
    """A batch of one molecule as PyTorch Geometric's object, with everything that the networks need."""
    graph = {"x": batch.atoms, "edge_index": batch.edge_index, "edge_attr": batch.bonds, "y": batch.target}
    if batch.pairs is None:
        return PyGData(**graph)
    pairs = batch.pairs
    return WithPairs(**graph, pair_index=pairs.index, of_edge=pairs.of_edge, of_node=pairs.of_node, rrwp=pairs.rrwp)


def check_same(data: Zinc, samples: list[PyGData]) -> None:
    """Both ways give the same tensors."""
    rows = np.array([3, 1, 2])
    ours, theirs = data.gather("train", rows), Batch.from_data_list([samples[i] for i in rows])
    assert torch.equal(ours.edge_index, theirs.edge_index) and torch.equal(ours.graph, theirs.batch)
    if ours.pairs is not None:
        assert torch.equal(ours.pairs.of_edge, theirs.of_edge) and torch.equal(ours.pairs.index, theirs.pair_index)


if __name__ == "__main__":
    main()
