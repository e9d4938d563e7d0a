"""SMILES to graphs with the atom and bond types of the published ZINC graphs.

An atom type is an element with its explicit hydrogens and the sign of its charge, read after aromatic rings are
written as alternating single and double bonds: ``C H1`` is a stereocentre written ``[C@H]``, ``N H2 +`` an ammonium
nitrogen. The numbers are those of the graphs that PyTorch Geometric distributes (Dwivedi et al., Benchmarking Graph
Neural Networks), so that networks and results carry over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from rdkit import Chem

ATOM_TYPES = (
    "C", "O", "N", "F", "C H1", "S", "Cl", "O -", "N H1 +", "Br", "N H3 +", "N H2 +", "N +", "N -",
    "S -", "I", "P", "O H1 +", "N H1 -", "O +", "S +", "P H1", "P H2", "C H2 -", "P +", "S H1 +", "C H1 -", "P H1 +",
)  # fmt: skip
"""Position = number of the type."""

BOND_TYPES = ("NONE", "SINGLE", "DOUBLE", "TRIPLE")
"""Position = number of the type; ``NONE`` is the absence of a bond and occurs on no edge."""

_ATOM_NUMBER = {name: number for number, name in enumerate(ATOM_TYPES)}
_BOND_NUMBER = {name: number for number, name in enumerate(BOND_TYPES) if number}


class UnusableMolecule(Exception):
    """A molecule that cannot become a sample; the text is the reason, a clause."""


class MoleculeGraph(NamedTuple):
    """One molecule.

    Attributes:
        atoms: atom types, uint8 ``[atoms]``, in the order of the SMILES.
        edges: source and target atoms, uint16 ``[2, 2 * bonds]``: both directions, sorted.
        bonds: bond types, uint8 ``[2 * bonds]``.
    """

    atoms: np.ndarray
    edges: np.ndarray
    bonds: np.ndarray


def parse_smiles(smiles: str) -> Chem.Mol:
    """A molecule, sanitised.

    Raises:
        UnusableMolecule: RDKit cannot read the SMILES.
    """
    from rdkit import Chem

    mol = Chem.MolFromSmiles(smiles)
    if mol is None or not mol.GetNumAtoms():
        raise UnusableMolecule("RDKit cannot parse it")
    return mol


def molecule_graph(mol: Chem.Mol) -> MoleculeGraph:
    """The graph of a molecule.

    Args:
        mol: a sanitised molecule, which is not changed.

    Raises:
        UnusableMolecule: an atom or bond is not of a known type.
    """
    from rdkit import Chem

    mol = Chem.Mol(mol)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    atoms = np.array([_type_number(_ATOM_NUMBER, atom_type(atom), "atom") for atom in mol.GetAtoms()], dtype=np.uint8)
    ends, types = [], []
    for bond in mol.GetBonds():
        ends.append((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        types.append(_type_number(_BOND_NUMBER, bond.GetBondType().name, "bond"))
    once = np.array(ends, dtype=np.uint16).reshape(-1, 2).T
    edges = np.concatenate([once, once[::-1]], axis=1)
    order = np.lexsort((edges[1], edges[0]))
    return MoleculeGraph(atoms, edges[:, order], np.array(types * 2, dtype=np.uint8)[order])


def atom_type(atom: Chem.Atom) -> str:
    """Name of an atom's type, in the notation of `ATOM_TYPES`."""
    hydrogens, charge = atom.GetNumExplicitHs(), atom.GetFormalCharge()
    return (
        atom.GetSymbol()
        + (f" H{hydrogens}" if hydrogens else "")
        + (" +" if charge > 0 else " -" if charge < 0 else "")
    )


def _type_number(numbers: dict, name: object, what: str) -> int:
    if name not in numbers:
        raise UnusableMolecule(f"the {what} type {str(name)!r} is none of the {len(numbers)} of ZINC")
    return numbers[name]
