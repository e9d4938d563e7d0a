"""The target of ZINC: penalised logP, standardised.

    y = z(logP) + z(-SA) + z(-cycle),   z(v) = (v - mean) / std

with Crippen's logP, Ertl and Schuffenhauer's synthetic accessibility and ``cycle = max(0, longest ring - 6)`` over
the rings of a cycle basis (Kusner et al., Grammar VAE; Jin et al., Junction Tree VAE).
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import networkx as nx
from rdkit import Chem, RDConfig
from rdkit.Chem import Crippen

FREE_RING = 6
"""Rings up to this size are not penalised."""


class Properties(NamedTuple):
    """The three terms of the target, unstandardised.

    Attributes:
        logp: octanol-water partition coefficient, Crippen's estimate.
        accessibility: synthetic accessibility, 1 (easy) to 10.
        cycle: atoms by which the longest ring exceeds `FREE_RING`.
    """

    logp: float
    accessibility: float
    cycle: float


MEANS = Properties(logp=2.4570953396190123, accessibility=3.0525811293166134, cycle=0.0485696876403053)
"""Means over the 249,456 molecules of ZINC, as used for the published Junction Tree VAE scores, which they reproduce to
5e-15. The targets that PyTorch Geometric distributes were standardised with slightly other statistics: the three
that are printed in public differ from these by 0.0001 to 0.0025."""

DEVIATIONS = Properties(logp=1.434324401111988, accessibility=0.8335207024513095, cycle=0.2860212110245455)
"""Standard deviations over the same molecules."""


def properties(mol: Chem.Mol) -> Properties:
    """The three terms of a sanitised molecule."""
    return Properties(Crippen.MolLogP(mol), float(_sascorer().calculateScore(mol)), float(cycle_penalty(mol)))


def target(mol: Chem.Mol) -> float:
    """The standardised target of a sanitised molecule."""
    logp, accessibility, cycle = (
        (term - mean) / deviation for term, mean, deviation in zip(properties(mol), MEANS, DEVIATIONS, strict=True)
    )
    return logp - accessibility - cycle


def cycle_penalty(mol: Chem.Mol) -> int:
    """Atoms by which the longest ring of the cycle basis exceeds `FREE_RING`; 0 without such a ring.

    A cycle basis is not unique where rings share bonds. The published values come from networkx's, over the atoms
    in the order of the canonical SMILES, so such molecules are written and read again; elsewhere the rings
    themselves are the only basis.
    """
    rings = mol.GetRingInfo()
    if not any(rings.NumBondRings(bond) > 1 for bond in range(mol.GetNumBonds())):
        return max(0, max(map(len, rings.AtomRings()), default=0) - FREE_RING)
    canonical = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    if canonical is None:  # no such molecule is known
        canonical = mol
    # Nodes and neighbours enter in ascending order: the basis depends on it.
    graph = nx.Graph()
    graph.add_nodes_from(range(canonical.GetNumAtoms()))
    graph.add_edges_from(
        sorted(tuple(sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))) for bond in canonical.GetBonds())
    )
    return max(0, max(map(len, nx.cycle_basis(graph)), default=0) - FREE_RING)


@lru_cache(maxsize=1)
def _sascorer() -> ModuleType:
    """RDKit's contributed module, which lies beside the package and is importable under its name only in some builds.

    Raises:
        ValueError: the installation has none.
    """
    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    if not path.is_file():
        raise ValueError(
            f"RDKit must come with its contributed synthetic accessibility score, but {path} is missing; install "
            "RDKit from PyPI or conda-forge."
        )
    spec = importlib.util.spec_from_file_location("rdkit_sascorer", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
