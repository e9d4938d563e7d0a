"""GAT on ZINC (paper 1, appendix A.7)."""

from __future__ import annotations

from typing import Any, ClassVar

from models.gat import GAT, GATSettings
from suite.training import configurable
from tasks.kinds.regression import Regression
from tasks.zinc.batch import MoleculeBatch


@configurable
class ZincGAT(Regression, GATSettings):
    """GAT on ZINC."""

    batch_coupled: ClassVar[bool] = True

    def make_network(self, facts: dict[str, Any]) -> GAT:
        """The network for a number of atom types."""
        return GAT(self, atom_types=facts["atom_types"])

    def inputs(self, batch: MoleculeBatch) -> tuple[Any, ...]:
        """Atoms and edges."""
        return batch.atoms, batch.edge_index, batch.graph, batch.num_graphs, batch.filled
