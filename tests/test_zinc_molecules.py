"""Molecules: types, targets against published values, SMILES files, the sample."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rdkit")

from tasks.zinc.molecules import ATOM_TYPES, BOND_TYPES, UnusableMolecule, molecule_graph, parse_smiles
from tasks.zinc.sample import DRUGS, MAX_ATOMS, MIN_ATOMS, join_fragments
from tasks.zinc.smiles_files import SmilesFiles, read_smiles
from tasks.zinc.target import DEVIATIONS, MEANS, cycle_penalty, properties, target


def table(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def molecules(shared_data: Path) -> Path:
    return shared_data / "molecules"


def test_there_are_as_many_types_as_published() -> None:
    assert (len(ATOM_TYPES), len(BOND_TYPES)) == (28, 4)
    assert len(set(ATOM_TYPES)) == 28


@pytest.mark.parametrize(
    ("smiles", "atoms", "bonds"),
    [
        ("C#N", ["C", "N"], ["TRIPLE"]),
        ("C[NH3+]", ["C", "N H3 +"], ["SINGLE"]),
        ("C[N+](=O)[O-]", ["C", "N +", "O", "O -"], ["SINGLE", "DOUBLE", "SINGLE"]),
        ("N[C@@H](F)Cl", ["N", "C H1", "F", "Cl"], ["SINGLE"] * 3),
        ("c1cc[nH]c1", ["C", "C", "C", "N", "C"], ["DOUBLE", "SINGLE", "SINGLE", "DOUBLE", "SINGLE"]),
        ("I", ["I"], []),
    ],
)
def test_types_by_hand(smiles: str, atoms: list[str], bonds: list[str]) -> None:
    graph = molecule_graph(parse_smiles(smiles))
    assert [ATOM_TYPES[a] for a in graph.atoms] == atoms
    assert graph.edges.shape == (2, 2 * len(bonds))
    once = graph.edges[0] < graph.edges[1]
    assert sorted(BOND_TYPES[b] for b in graph.bonds[once]) == sorted(bonds)


def test_edges_go_both_ways_and_are_sorted() -> None:
    graph = molecule_graph(parse_smiles("CC(=O)Oc1ccccc1C(=O)O"))
    edges = [tuple(e) for e in graph.edges.T.tolist()]
    assert edges == sorted(edges)
    kinds = dict(zip(edges, graph.bonds.tolist(), strict=True))
    assert all(kinds[b, a] == kind for (a, b), kind in kinds.items())


@pytest.mark.parametrize(
    ("smiles", "reason"), [("c1ccc", "cannot parse"), ("", "cannot parse"), ("C[Si](C)C", "'Si' is none of the 28")]
)
def test_unusable_molecules_say_why(smiles: str, reason: str) -> None:
    with pytest.raises(UnusableMolecule, match=reason):
        molecule_graph(parse_smiles(smiles))


@pytest.mark.parametrize(
    ("smiles", "penalty"),
    [
        ("CCO", 0),
        ("c1ccccc1", 0),
        ("C1CCCCCC1", 1),
        ("O=C1CCCCCCCCO1", 4),
        ("c1ccc2ccccc2c1", 0),
        ("C1CCC2(CC1)CC2", 0),
    ],
)
def test_cycle_penalty_by_hand(smiles: str, penalty: int) -> None:
    assert cycle_penalty(parse_smiles(smiles)) == penalty


def test_targets_equal_the_published_scores(molecules: Path) -> None:
    rows = table(molecules / "published_normalised_scores_jtnn_bo.csv.gz")[::3]
    for row in rows:
        found = target(parse_smiles(row["smiles"]))
        assert found == pytest.approx(float(row["y_normalised_published"]), abs=1e-6)


def test_two_terms_equal_the_published_values(molecules: Path) -> None:
    for row in table(molecules / "published_logP_minus_SA_jtnn.csv.gz"):
        terms = properties(parse_smiles(row["smiles"]))
        assert terms.logp - terms.accessibility == pytest.approx(float(row["logP_minus_SA_published"]), abs=1e-6)


def test_constants_and_printed_graphs_are_the_published(molecules: Path) -> None:
    published: dict[str, Any] = json.loads((molecules / "zinc_target_constants.json").read_text())
    constants = published["jtnn_all_249456"]
    assert (constants["logP_mean"], -constants["negSA_mean"], -constants["negcycle_mean"]) == MEANS
    assert (constants["logP_std"], constants["negSA_std"], constants["negcycle_std"]) == DEVIATIONS
    for printed in published["published_pyg_dgl_zinc_full_targets"]:
        if printed["smiles"]:
            mol = parse_smiles(printed["smiles"])
            graph = molecule_graph(mol)
            assert (len(graph.atoms), len(graph.bonds)) == (printed["num_nodes"], printed["num_edges"])
            assert target(mol) == pytest.approx(printed["y"], abs=0.005)


def test_real_molecules_have_the_expected_graphs_and_targets(molecules: Path) -> None:
    used = set()
    for row in table(molecules / "zinc250k_test_rows0_2499.csv.gz")[::5]:
        mol = parse_smiles(row["smiles"])
        graph = molecule_graph(mol)
        used |= set(graph.atoms.tolist())
        assert (len(graph.atoms), len(graph.bonds)) == (int(row["n_atoms"]), 2 * int(row["n_bonds"]))
        assert cycle_penalty(mol) == float(row["cycle_penalty"])
        assert target(mol) == pytest.approx(float(row["y_jtnn_const"]), abs=1e-6)
    assert len(used) > 12


def test_smiles_files(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffname,SMILES\nethanol,"CCO\n"\nshort\nwater,O\n', encoding="utf-8")
    assert [row.smiles for row in read_smiles(path)] == ["CCO", "", "O"]
    assert read_smiles(path)[2].where == "a.csv line 5"
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write("smiles\nC\n")
    (tmp_path / "notes.txt").write_text("no molecules")
    assert [row.smiles for row in SmilesFiles(tmp_path).rows()] == ["CCO", "", "O", "C"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"name,formula\nx,y\n", "column named smiles, got name, formula"),
        ("a.csv", b"", "column named smiles, got nothing"),
        ("a.csv", b"smiles\n\xff\xfe\n", "must be a CSV file in UTF-8"),
        ("a.csv.gz", gzip.compress(b"smiles\n" + b"C\n" * 5000, mtime=0)[:-12], "must be a complete gzip file"),
        ("a.txt", b"C", "a column smiles"),
    ],
)
def test_broken_files_are_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        SmilesFiles(tmp_path / name).rows()
    assert "\n" not in str(caught.value)


def test_missing_path_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an existing file or folder, got"):
        SmilesFiles(tmp_path / "none.csv").rows()


def test_every_drug_of_the_sample_is_a_molecule() -> None:
    for smiles in DRUGS.values():
        molecule_graph(parse_smiles(smiles))


def test_sample_molecules_are_usable_different_and_repeatable() -> None:
    smiles = join_fragments(150, seed=3)
    assert len(set(smiles)) == 150
    assert smiles[:40] == join_fragments(40, seed=3)
    sizes = [len(molecule_graph(parse_smiles(s)).atoms) for s in smiles]
    assert min(sizes) >= MIN_ATOMS and max(sizes) <= MAX_ATOMS
    assert 18 < np.mean(sizes) < 28
