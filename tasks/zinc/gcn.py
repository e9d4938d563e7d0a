"""GCN on ZINC (beside GAT in paper 1's released code)."""

from __future__ import annotations

from typing import Any, ClassVar

from models.gcn import GCN
from tasks.kinds.regression import Regression
from tasks.zinc.batch import MoleculeBatch


class ZincGCN(Regression):
    """GCN on ZINC.

    Args:
        num_layers: convolutions.
        width: features per atom.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    batch_coupled: ClassVar[bool] = True

    def __init__(self, *, num_layers: int = 4, width: int = 256, **recipe: Any) -> None:
        super().__init__(**recipe)
        self.num_layers = num_layers
        self.width = width

    def make_network(self, facts: dict[str, Any]) -> GCN:
        """The network for a number of atom types."""
        return GCN(atom_types=facts["atom_types"], num_layers=self.num_layers, width=self.width)

    def inputs(self, batch: MoleculeBatch) -> tuple[Any, ...]:
        """Atoms and edges."""
        return batch.atoms, batch.edge_index, batch.graph, batch.num_graphs, batch.filled
