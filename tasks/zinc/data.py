"""ZINC: molecules and their penalised logP, the graph data of paper 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.training import Data, configurable
from suite.training.batches import BatchPlan
from tasks.kinds.array_files import verify_arrays
from tasks.kinds.local_files import local_path
from tasks.zinc.batch import MoleculeBatch, Room, filled, gather_batches, rooms
from tasks.zinc.graph_files import SPLITS, Graphs, map_graphs
from tasks.zinc.molecules import ATOM_TYPES, BOND_TYPES
from tasks.zinc.published import PublishedGraphs
from tasks.zinc.rrwp import Walks, map_rrwp, prepare_rrwp
from tasks.zinc.smiles_files import SmilesFiles

if TYPE_CHECKING:
    from tasks.zinc.sample import SampleMolecules


@configurable
class Zinc(Data):
    """Molecular graphs with the penalised logP as target, standardised.

    ``source: paper`` is PyTorch Geometric's full ZINC in its splits (220,011 and 24,445 molecules; paper 1, appendix
    A.7), fetched at the first preparation. ``source: <path>`` is a CSV file, plain or packed, with a column
    ``smiles``; RDKit computes graphs and targets (`tasks.zinc.target`). ``source: sample`` is
    `tasks.zinc.sample`.
    """

    val_share: float = dataclasses.field(default=0.1, metadata={"above": 0, "below": 1})
    """Share of the molecules that is the validation split, drawn at random by a fixed seed; ``paper`` has splits of its
    own."""

    max_molecules: int | None = dataclasses.field(default=None, metadata={"at_least": 2})
    """Use only the first so many molecules of the source; null: all."""

    rrwp_steps: int = dataclasses.field(default=0, metadata={"at_least": 0, "at_most": 1000})
    """Walk lengths of the relative random walk probabilities, the identity included; 0: none, for architectures that
    see bonds alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder: Path | None = None
        self.manifest: dict[str, Any] = {}
        self._graphs: dict[str, Graphs] = {}
        self._walks: dict[str, Walks] = {}

    def molecules(self) -> SmilesFiles | SampleMolecules | PublishedGraphs:
        """The molecules that ``source`` names."""
        if self.source == "paper":
            return PublishedGraphs(self.prepared_root / "zinc-pyg")
        if self.source == "sample":
            from tasks.zinc.sample import SampleMolecules

            return SampleMolecules()
        return SmilesFiles(local_path(self.source))

    def prepare(self) -> str:
        """Make graphs, targets and random walk probabilities once; see `tasks.zinc.preparation`."""
        from tasks.zinc.preparation import fingerprint, prepare_molecules

        self.folder, self.manifest = prepare_molecules(
            self.molecules(),
            self.prepared_root,
            val_share=self.val_share,
            max_molecules=self.max_molecules,
            workers=self.workers,
        )
        if self.rrwp_steps:
            prepare_rrwp(self.folder, self.rrwp_steps, workers=self.workers)
        return fingerprint(self.manifest)

    def verify(self) -> None:
        """Compare the prepared files with their checksums.

        Raises:
            ValueError: a file was changed; the message names it.
        """
        self.ensure_open()
        assert self.folder is not None
        verify_arrays(self.folder, self.manifest["arrays"])

    def open(self) -> None:
        """Map the arrays into memory."""
        assert self.folder is not None
        for split in SPLITS:
            self._graphs[split] = map_graphs(self.folder, split)
            if self.rrwp_steps:
                self._walks[split] = map_rrwp(self.folder, self.rrwp_steps, split, self._graphs[split])
        self.train_samples = len(self._graphs["train"])
        self.val_samples = len(self._graphs["val"])

    def targets(self, split: str) -> np.ndarray:
        """Targets of a split, float32 ``[samples]``."""
        return self._graphs[split].targets

    def facts(self) -> dict[str, Any]:
        """Numbers of atom and bond types, and walk lengths."""
        return {"atom_types": len(ATOM_TYPES), "bond_types": len(BOND_TYPES), "rrwp_steps": self.rrwp_steps}

    facts_ahead = facts

    def gather(self, split: str, indices: np.ndarray) -> MoleculeBatch:
        """Join some molecules to one graph.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[n]``.
        """
        return self.gather_many(split, indices[None])[0]

    def gather_steps(self, plan: BatchPlan, first: int, end: int) -> list[MoleculeBatch]:
        """Training micro-batches; with ``same_shapes`` filled up, see `tasks.zinc.batch.filled`."""
        batches: list[MoleculeBatch] = super().gather_steps(plan, first, end)
        if not self.same_shapes:
            return batches
        choices = self._rooms(plan.micro_batch)
        return [filled(batch, choices) for batch in batches]

    def stack(self, batches: Sequence[MoleculeBatch]) -> MoleculeBatch:
        """One batch of several filled ones; see `Data.stack`."""
        if len({len(batch.atoms) for batch in batches}) > 1:
            largest = self._rooms(batches[0].num_graphs)[-1:]
            batches = [batch if len(batch.atoms) == largest[0].atoms else filled(batch, largest) for batch in batches]
        together: MoleculeBatch = super().stack(batches)
        return together

    def _rooms(self, micro_batch: int | None) -> list[Room]:
        assert micro_batch is not None
        return rooms(self._graphs["train"].sizes(pairs=bool(self.rrwp_steps)), micro_batch)

    def gather_many(self, split: str, indices: np.ndarray) -> list[MoleculeBatch]:
        """Several batches, gathered at once; their tensors are views of common ones.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[batches, n]``.
        """
        return gather_batches(self._graphs[split], indices, self._walks.get(split))
