"""The embedded sample: molecules that RDKit joins from fragments of well-known drugs.

The drugs are cut at the bonds that the BRICS rules name (Degen et al. 2008), and the fragments joined again at
random by the same rules, with as many atoms as ZINC's molecules have. Every molecule is valid chemistry and has its
true target, but the molecules are not distributed as ZINC's: the same 133 fragments recur, charges are rare, and many
molecules are harder to make. 2,000 molecules take a few seconds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

from rdkit import Chem, rdBase
from rdkit.Chem import BRICS

from tasks.zinc.molecules import UnusableMolecule, parse_smiles
from tasks.zinc.smiles_files import Row

RECIPE = 1
"""Raised whenever the molecules below would change."""

SAMPLE_MOLECULES = 2000

MIN_ATOMS, MAX_ATOMS = 9, 38
"""ZINC250K has 6 to 38 atoms."""

DRUGS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "sildenafil": "CCCc1nn(C)c2c1nc([nH]c2=O)-c1cc(ccc1OCC)S(=O)(=O)N1CCN(C)CC1",
    "imatinib": "Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(n1)-c1cccnc1",
    "gefitinib": "COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1",
    "erlotinib": "COCCOc1cc2ncnc(Nc3cccc(c3)C#C)c2cc1OCCOC",
    "celecoxib": "Cc1ccc(cc1)-c1cc(nn1-c1ccc(cc1)S(N)(=O)=O)C(F)(F)F",
    "diazepam": "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc12",
    "fluoxetine": "CNCCC(Oc1ccc(cc1)C(F)(F)F)c1ccccc1",
    "sertraline": "CN[C@H]1CC[C@@H](c2ccc(Cl)c(Cl)c2)c2ccccc12",
    "citalopram": "CN(C)CCCC1(OCc2cc(ccc12)C#N)c1ccc(F)cc1",
    "haloperidol": "OC1(CCN(CCCC(=O)c2ccc(F)cc2)CC1)c1ccc(Cl)cc1",
    "loratadine": "CCOC(=O)N1CCC(CC1)=C1c2ccc(Cl)cc2CCc2cccnc12",
    "cetirizine": "OC(=O)COCCN1CCN(CC1)C(c1ccccc1)c1ccc(Cl)cc1",
    "omeprazole": "COc1ccc2[nH]c(nc2c1)S(=O)Cc1ncc(C)c(OC)c1C",
    "ranitidine": "CNC(=C[N+](=O)[O-])NCCSCc1ccc(CN(C)C)o1",
    "metoprolol": "COCCc1ccc(OCC(O)CNC(C)C)cc1",
    "propranolol": "CC(C)NCC(O)COc1cccc2ccccc12",
    "atenolol": "CC(C)NCC(O)COc1ccc(CC(N)=O)cc1",
    "warfarin": "CC(=O)CC(c1ccccc1)c1c(O)c2ccccc2oc1=O",
    "ciprofloxacin": "OC(=O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O",
    "linezolid": "CC(=O)NC[C@H]1CN(C(=O)O1)c1ccc(N2CCOCC2)c(F)c1",
    "trimethoprim": "COc1cc(Cc2cnc(N)nc2N)cc(OC)c1OC",
    "sulfamethoxazole": "Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "procaine": "CCN(CC)CCOC(=O)c1ccc(N)cc1",
    "verapamil": "COc1ccc(CCN(C)CCCC(C#N)(C(C)C)c2ccc(OC)c(OC)c2)cc1OC",
    "nifedipine": "COC(=O)C1=C(C)NC(C)=C(C1c1ccccc1[N+](=O)[O-])C(=O)OC",
    "losartan": "CCCCc1nc(Cl)c(CO)n1Cc1ccc(cc1)-c1ccccc1-c1nn[nH]n1",
    "furosemide": "NS(=O)(=O)c1cc(C(=O)O)c(NCc2ccco2)cc1Cl",
    "pioglitazone": "CCc1ccc(CCOc2ccc(CC3SC(=O)NC3=O)cc2)nc1",
    "sitagliptin": "N[C@@H](CC(=O)N1CCn2c(C1)nnc2C(F)(F)F)Cc1cc(F)c(F)cc1F",
    "zolpidem": "CN(C)C(=O)Cc1c(nc2ccc(C)cn12)-c1ccc(C)cc1",
    "bupropion": "CC(NC(C)(C)C)C(=O)c1cccc(Cl)c1",
    "tramadol": "COc1cccc(c1)C1(O)CCCCC1CN(C)C",
    "donepezil": "COc1cc2CC(CC3CCN(Cc4ccccc4)CC3)C(=O)c2cc1OC",
    "fluconazole": "OC(Cn1cncn1)(Cn1cncn1)c1ccc(F)cc1F",
    "montelukast fragment": "OC(C)(C)c1ccccc1CCC(SCC1(CC(=O)O)CC1)c1cccc(C)c1",
    "febuxostat": "CC(C)COc1ccc(cc1C#N)-c1nc(C)c(s1)C(=O)O",
    "rivaroxaban": "O=C1COCCN1c1ccc(cc1)N1C[C@H](CNC(=O)c2ccc(Cl)s2)OC1=O",
    "bosutinib fragment": "COc1cc2c(Nc3ccc(Br)cc3)c(cnc2cc1OCCCN1CCN(C)CC1)C#N",
    "captopril": "C[C@H](CS)C(=O)N1CCC[C@H]1C(=O)O",
    "memantine": "CC12CC3CC(C)(C1)CC(N)(C3)C2",
    "neostigmine": "CN(C)C(=O)Oc1cccc(c1)[N+](C)(C)C",
    "phenytoin": "O=C1NC(=O)C(N1)(c1ccccc1)c1ccccc1",
    "methylphenidate": "COC(=O)C(C1CCCC[NH2+]1)c1ccccc1",
    "naproxen": "COc1ccc2cc(ccc2c1)[C@H](C)C(=O)[O-]",
    "clopidogrel": "COC(=O)[C@@H](N1CCc2sccc2C1)c1ccccc1Cl",
    "iodoquinol fragment": "Oc1c(I)cc(CNC(C)=O)c2cccnc12",
    "tolcapone": "Cc1ccc(cc1)C(=O)c1cc(O)c(O)c(c1)[N+](=O)[O-]",
    "mexiletine": "CC([NH3+])COc1c(C)cccc1C",
    "azepam ring": "O=C1CCCCCCN1CC(=O)Nc1ccccc1",
    "macrolactone fragment": "O=C1CCCCCCCCO1",
}
"""Name -> SMILES; a few are large parts of a drug, and two give rings of more than six atoms."""


@dataclass(frozen=True)
class SampleMolecules:
    """The embedded sample as a source of SMILES.

    Attributes:
        count: number of molecules.
    """

    count: int = SAMPLE_MOLECULES

    label = "sample"

    def identity(self) -> dict[str, Any]:
        """What decides the molecules: the recipe and RDKit, whose SMILES they are."""
        return {"kind": "sample", "recipe": RECIPE, "count": self.count, "rdkit": rdBase.rdkitVersion}

    def rows(self) -> list[Row]:
        """Canonical SMILES, all different, the same at every call."""
        return [Row(smiles, f"sample molecule {i}") for i, smiles in enumerate(join_fragments(self.count, seed=0))]


_ONE_WAY = [(int(a), int(b)) for group in BRICS.reactionDefs for a, b, bond in group if bond == "-"]
_JOINS = frozenset(_ONE_WAY) | {(b, a) for a, b in _ONE_WAY}
"""Labels of two open joints that a single bond may join."""


def drug_fragments() -> list[Chem.Mol]:
    """All fragments of `DRUGS`, in a fixed order; a dummy atom marks where another one may be joined."""
    smiles = set()
    for drug in DRUGS.values():
        smiles |= BRICS.BRICSDecompose(Chem.MolFromSmiles(drug))
    return [Chem.MolFromSmiles(s) for s in sorted(smiles)]


def join_fragments(count: int, *, seed: int) -> list[str]:
    """Make molecules of fragments that are joined at random.

    Args:
        count: number of molecules.
        seed: seed of the choice.

    Returns:
        Canonical SMILES, all different.
    """
    rng = random.Random(seed)
    fragments = [_Fragment.of(mol) for mol in drug_fragments()]
    partners: dict[int, list[tuple[_Fragment, _Joint]]] = {}
    for fragment in fragments:
        for joint in fragment.joints:
            for label in sorted(b for a, b in _JOINS if a == joint.label):
                partners.setdefault(label, []).append((fragment, joint))
    made: dict[str, None] = {}
    with rdBase.BlockLogs():
        while len(made) < count:
            smiles = _grow(rng.choice(fragments), partners, rng.randint(MIN_ATOMS + 5, MAX_ATOMS), rng)
            if smiles is not None:
                made[smiles] = None
    return list(made)


class _Joint(NamedTuple):
    """Where a fragment may be joined: the dummy atom, its label, the atom that it stands beside."""

    dummy: int
    label: int
    neighbour: int


class _Fragment(NamedTuple):
    mol: Chem.Mol
    joints: tuple[_Joint, ...]

    @classmethod
    def of(cls, mol: Chem.Mol) -> _Fragment:
        dummies = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
        return cls(mol, tuple(_Joint(a.GetIdx(), a.GetIsotope(), a.GetNeighbors()[0].GetIdx()) for a in dummies))


def _grow(
    first: _Fragment, partners: dict[int, list[tuple[_Fragment, _Joint]]], atoms: int, rng: random.Random
) -> str | None:
    """Join fragments to ``first`` until there are about so many atoms; None: no molecule of the wanted kind."""
    mol = Chem.RWMol(first.mol)
    joints = [joint for joint in first.joints if joint.label in partners]
    dummies = [joint.dummy for joint in first.joints]
    while joints and mol.GetNumAtoms() - len(dummies) < atoms:
        joint = joints.pop(rng.randrange(len(joints)))
        fragment, end = rng.choice(partners[joint.label])
        shift = mol.GetNumAtoms()
        mol.InsertMol(fragment.mol)
        mol.AddBond(joint.neighbour, end.neighbour + shift, Chem.BondType.SINGLE)
        dummies += [other.dummy + shift for other in fragment.joints]
        joints += [
            _Joint(other.dummy + shift, other.label, other.neighbour + shift)
            for other in fragment.joints
            if other is not end and other.label in partners
        ]
    mol.BeginBatchEdit()
    # Joints that stay open become hydrogens, which are implicit.
    for dummy in dummies:
        mol.RemoveAtom(dummy)
    mol.CommitBatchEdit()
    if not MIN_ATOMS <= mol.GetNumAtoms() <= MAX_ATOMS:
        return None
    smiles = Chem.MolToSmiles(mol)
    if "[SH]" in smiles:  # a sulfonyl that stayed open, an atom type that ZINC does not have
        return None
    try:
        # An open joint at an aromatic nitrogen, for one, makes no molecule.
        parse_smiles(smiles)
    except UnusableMolecule:
        return None
    return smiles
