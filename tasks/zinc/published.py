"""The ZINC graphs that PyTorch Geometric distributes, in its splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.zinc.graph_files import SPLITS, Graphs, offsets


@dataclass(frozen=True)
class PublishedGraphs:
    """``torch_geometric.datasets.ZINC(subset=False)``: 220,011 training and 24,445 validation graphs.

    Atoms and bonds are numbers already and the target is standardised, with slightly other statistics than
    `tasks.zinc.target`. The third split (5,000 graphs) is not used, as in paper 1.

    Attributes:
        folder: where the download and PyTorch Geometric's own files are kept.
    """

    folder: Path

    label = "paper"

    def identity(self) -> dict[str, Any]:
        """The dataset's name: it has one version."""
        return {"kind": "pyg", "dataset": "ZINC", "subset": False}

    def graphs(self, split: str) -> Graphs:
        """One split; downloaded and processed by PyTorch Geometric at the first call.

        Args:
            split: ``train`` or ``val``.

        Raises:
            ValueError: the graphs cannot be downloaded.
        """
        assert split in SPLITS
        from torch_geometric.datasets import ZINC

        try:
            dataset = ZINC(str(self.folder), subset=False, split=split)
        except OSError as error:
            raise ValueError(
                f"data.source paper must be able to fetch ZINC into {self.folder}, but that failed "
                f"({type(error).__name__}: {error}); connect to the internet, put PyTorch Geometric's raw files into "
                f"{self.folder / 'raw'}, or set data.source to sample or to a SMILES file."
            ) from error
        # The collated form is flat already; taking graph after graph out of it would need minutes.
        data, slices = dataset._data, dataset.slices
        assert slices is not None
        return _flat(data, slices)


def _flat(data: Any, slices: Any) -> Graphs:
    node_offsets = slices["x"].numpy().astype(np.int64)
    edge_offsets = slices["edge_index"].numpy().astype(np.int64)
    return Graphs(
        atoms=data.x.view(-1).numpy().astype(np.uint8),
        edges=data.edge_index.numpy().astype(np.uint16),
        bonds=data.edge_attr.view(-1).numpy().astype(np.uint8),
        targets=data.y.view(-1).numpy().astype(np.float32),
        node_offsets=offsets(np.diff(node_offsets)),
        edge_offsets=offsets(np.diff(edge_offsets)),
    )
