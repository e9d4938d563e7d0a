"""GAT on ZINC (paper 1, appendix A.7)."""

from __future__ import annotations

from typing import Any, ClassVar

from models.gat import GAT
from tasks.kinds.regression import Regression
from tasks.zinc.batch import MoleculeBatch


class ZincGAT(Regression):
    """GAT on ZINC.

    Args:
        num_layers: convolutions.
        num_heads: attention heads per convolution.
        width: features per atom.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    batch_coupled: ClassVar[bool] = True

    def __init__(self, *, num_layers: int = 4, num_heads: int = 8, width: int = 256, **recipe: Any) -> None:
        super().__init__(**recipe)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.width = width

    def make_network(self, facts: dict[str, Any]) -> GAT:
        """The network for a number of atom types."""
        return GAT(
            atom_types=facts["atom_types"], num_layers=self.num_layers, num_heads=self.num_heads, width=self.width
        )

    def inputs(self, batch: MoleculeBatch) -> tuple[Any, ...]:
        """Atoms and edges."""
        return batch.atoms, batch.edge_index, batch.graph, batch.num_graphs, batch.filled
