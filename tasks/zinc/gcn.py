"""GCN on ZINC (beside GAT in paper 1's released code)."""

from __future__ import annotations

from typing import Any, ClassVar

from models.gcn import GCN, GCNSettings
from suite.training import configurable
from tasks.kinds.regression import Regression
from tasks.zinc.batch import MoleculeBatch


@configurable
class ZincGCN(Regression, GCNSettings):
    """GCN on ZINC."""

    batch_coupled: ClassVar[bool] = True

    def make_network(self, facts: dict[str, Any]) -> GCN:
        """The network for a number of atom types."""
        return GCN(self, atom_types=facts["atom_types"])

    def inputs(self, batch: MoleculeBatch) -> tuple[Any, ...]:
        """Atoms and edges."""
        return batch.atoms, batch.edge_index, batch.graph, batch.num_graphs, batch.filled
