"""GRIT on ZINC (paper 1, appendix A.7)."""

from __future__ import annotations

from typing import Any, ClassVar

from models.grit import GRIT, GRITSettings
from suite.training import configurable
from tasks.kinds.regression import Regression
from tasks.zinc.batch import MoleculeBatch


@configurable
class ZincGRIT(Regression, GRITSettings):
    """GRIT on ZINC; needs ``data.rrwp_steps``."""

    batch_coupled: ClassVar[bool] = True

    def make_network(self, facts: dict[str, Any]) -> GRIT:
        """The network for numbers of atom types, bond types and walk lengths.

        Raises:
            ValueError: the data has no random walk probabilities.
        """
        if not facts["rrwp_steps"]:
            raise ValueError("GRIT must have random walk probabilities, got data.rrwp_steps 0; the paper has 21.")
        return GRIT(
            self, atom_types=facts["atom_types"], bond_types=facts["bond_types"], rrwp_steps=facts["rrwp_steps"]
        )

    def inputs(self, batch: MoleculeBatch) -> tuple[Any, ...]:
        """Atoms, bonds and all pairs of atoms."""
        assert batch.pairs is not None
        return (
            batch.atoms, batch.edge_index, batch.bonds, batch.graph, batch.pairs, batch.num_graphs, batch.filled
        )  # fmt: skip
