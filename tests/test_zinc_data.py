"""ZINC prepared and gathered: flat files, PyTorch Geometric's batches, random walks, the published dataset, runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit")
pytest.importorskip("torch_geometric")

from lightning.fabric.utilities import move_data_to_device
from small_runs import make_trainer, run_task
from torch_geometric.data import Batch
from torch_geometric.data import Data as PyGData

from suite.records import Store
from tasks.zinc import preparation
from tasks.zinc.data import Zinc
from tasks.zinc.gat import ZincGAT
from tasks.zinc.grit import ZincGRIT
from tasks.zinc.molecules import molecule_graph, parse_smiles
from tasks.zinc.sample import join_fragments
from tasks.zinc.target import target

SMILES = [*join_fragments(60, seed=1), "C", "C[NH3+]"]


def write_csv(path: Path, smiles: list[str] = SMILES) -> Path:
    path.write_text("smiles\n" + "".join(f"{s}\n" for s in smiles))
    return path


def open_zinc(folder: Path, smiles: list[str] = SMILES, **settings: Any) -> Zinc:
    source = folder / "molecules.csv"
    if not source.exists():
        write_csv(source, smiles)
    settings = {"batch_size": 4, "num_workers": 1, "source": str(source), "val_share": 0.2, **settings}
    data = Zinc(data_dir=str(folder / "data"), **settings)
    data.ensure_open()
    return data


def as_pyg(data: Zinc, split: str, index: int) -> PyGData:
    """One sample, cut out of the arrays the slow way."""
    graphs = data._graphs[split]
    nodes = slice(*graphs.node_offsets[index : index + 2])
    edges = slice(*graphs.edge_offsets[index : index + 2])
    return PyGData(
        x=torch.from_numpy(graphs.atoms[nodes].astype(np.int64)),
        edge_index=torch.from_numpy(graphs.edges[:, edges].astype(np.int64)),
        edge_attr=torch.from_numpy(graphs.bonds[edges].astype(np.int64)),
        y=torch.from_numpy(graphs.targets[index : index + 1].copy()),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Zinc:
    return open_zinc(tmp_path_factory.mktemp("zinc"), rrwp_steps=21)


def test_every_molecule_is_in_one_split_with_its_target(data: Zinc) -> None:
    expected = sorted(np.float32(target(parse_smiles(s))) for s in SMILES)
    assert sorted([*data.targets("train"), *data.targets("val")]) == expected
    assert data.val_samples == round(0.2 * len(SMILES))


@pytest.mark.parametrize("split", ["train", "val"])
def test_batches_equal_pyg(data: Zinc, split: str) -> None:
    rows = np.random.default_rng(0).integers(0, 12, size=(3, 5))
    for row, batch in zip(rows, data.gather_many(split, rows), strict=True):
        expected = Batch.from_data_list([as_pyg(data, split, int(i)) for i in row])
        assert torch.equal(batch.atoms, expected.x)
        assert torch.equal(batch.edge_index, expected.edge_index)
        assert torch.equal(batch.bonds, expected.edge_attr)
        assert torch.equal(batch.graph, expected.batch)
        assert torch.equal(batch.target, expected.y)
        assert batch.num_graphs == 5
        single = data.gather(split, row)
        assert torch.equal(single.edge_index, batch.edge_index) and torch.equal(single.pairs.rrwp, batch.pairs.rrwp)


def test_pairs_are_all_pairs_with_the_walks_of_the_target(data: Zinc) -> None:
    batch = data.gather("train", np.array([3, 0, 7]))
    pairs = batch.pairs
    assert torch.equal(pairs.index[:, pairs.of_edge], batch.edge_index)
    assert torch.equal(pairs.index[:, pairs.of_node], torch.arange(len(batch.atoms)).expand(2, -1))
    same = batch.graph[:, None] == batch.graph
    assert torch.equal(pairs.index[1] * len(same) + pairs.index[0], same.flatten().nonzero()[:, 0])
    adjacency = torch.zeros(same.shape, dtype=torch.float64)
    adjacency[batch.edge_index[0], batch.edge_index[1]] = 1
    walk = adjacency / adjacency.sum(1, keepdim=True).clamp(min=1)
    for k in range(21):
        expected = torch.linalg.matrix_power(walk, k)[pairs.index[1], pairs.index[0]]
        assert torch.allclose(pairs.rrwp[:, k].double(), expected, atol=1e-6)


def test_a_lone_atom_walks_nowhere(tmp_path: Path) -> None:
    data = open_zinc(tmp_path, ["C"] * 4, rrwp_steps=4, val_share=0.5)
    batch = data.gather("train", np.array([0]))
    assert batch.edge_index.shape == (2, 0)
    assert batch.pairs.rrwp.tolist() == [[1, 0, 0, 0]]


def test_batches_are_plain(data: Zinc) -> None:
    batch = data.gather("train", np.arange(3))
    moved = move_data_to_device(batch, torch.device("meta"))
    assert type(moved) is type(batch)
    assert moved.pairs.rrwp.device.type == "meta" and moved.num_graphs == 3
    again = pickle.loads(pickle.dumps(batch))
    assert torch.equal(again.pairs.index, batch.pairs.index)
    leaves, _ = torch.utils._pytree.tree_flatten(batch)
    assert sum(isinstance(leaf, torch.Tensor) for leaf in leaves) == 9


def test_prepared_once_and_the_same_with_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_zinc(tmp_path)
    monkeypatch.setattr(preparation, "CHUNK_ROWS", 20)
    again = Zinc(
        batch_size=4, source=str(tmp_path / "molecules.csv"), val_share=0.2, data_dir=str(tmp_path / "b"), num_workers=2
    )
    assert again.ensure_open() == data.fingerprint
    monkeypatch.setattr(preparation, "_write", None)
    assert open_zinc(tmp_path).fingerprint == data.fingerprint
    data.verify()


def test_unusable_molecules_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = open_zinc(tmp_path, ["CCO", "c1ccc", "C[Si](C)C", *SMILES[:10]])
    unusable = data.manifest["unusable"]
    assert unusable["count"] == 2
    assert unusable["examples"][0].startswith("molecules.csv line 3 ('c1ccc'): RDKit cannot parse it")
    assert "2 of 13 molecules of files cannot be used" in caplog.text
    assert data.train_samples + data.val_samples == 11


@pytest.mark.parametrize(
    ("smiles", "message"), [(["c1ccc", "xyz"], "all 2 of 2 molecules"), ([], "it has none"), (["CCO"], "Both splits")]
)
def test_nothing_usable_is_one_sentence(tmp_path: Path, smiles: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_zinc(tmp_path, smiles)


def test_killed_preparation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_zinc(tmp_path).fingerprint
    monkeypatch.setattr(preparation, "CHUNK_ROWS", 10)
    read, done = preparation.read_chunk, []

    def killed(smiles: list[str]) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return read(smiles)

    settings = {"source": str(tmp_path / "molecules.csv"), "val_share": 0.2, "data_dir": str(tmp_path / "b")}
    monkeypatch.setattr(preparation, "read_chunk", killed)
    with pytest.raises(KeyboardInterrupt):
        Zinc(batch_size=4, num_workers=1, **settings).prepare()
    rest: list[int] = []
    monkeypatch.setattr(preparation, "read_chunk", lambda smiles: rest.append(1) or read(smiles))
    assert Zinc(batch_size=4, num_workers=1, **settings).prepare() == whole
    assert len(rest) == -(-len(SMILES) // 10) - 3


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    data = open_zinc(tmp_path)
    assert data.folder is not None
    path = data.folder / "train.atoms.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.atoms\.npy must have the checksum"):
        data.verify()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="delete it and prepare again"):
        open_zinc(tmp_path)


def write_published(folder: Path) -> dict[str, list[str]]:
    """PyTorch Geometric's raw files, in small."""
    folder.mkdir(parents=True)
    splits = {"train": SMILES[:20], "val": SMILES[20:28], "test": SMILES[28:30]}
    for split, smiles in splits.items():
        mols = []
        for text in smiles:
            mol = parse_smiles(text)
            graph = molecule_graph(mol)
            bonds = torch.zeros(len(graph.atoms), len(graph.atoms), dtype=torch.int8)
            bonds[graph.edges[0].astype(int), graph.edges[1].astype(int)] = torch.from_numpy(
                graph.bonds.astype(np.int8)
            )
            score = torch.tensor([target(mol)])
            atoms = torch.from_numpy(graph.atoms.astype(np.int8))
            mols.append({"atom_type": atoms, "bond_type": bonds, "logP_SA_cycle_normalized": score})
        with open(folder / f"{split}.pickle", "wb") as file:
            pickle.dump(mols, file)
        (folder / f"{split}.index").write_text("0\n")
    return splits


def test_published_graphs_are_ours(tmp_path: Path) -> None:
    splits = write_published(tmp_path / "data" / "zinc-pyg" / "raw")
    data = Zinc(batch_size=4, source="paper", data_dir=str(tmp_path / "data"), rrwp_steps=3, num_workers=1)
    data.ensure_open()
    assert (data.train_samples, data.val_samples) == (20, 8)
    for split in ("train", "val"):
        chunk = preparation.read_chunk(splits[split])
        for name in ("atoms", "edges", "bonds", "targets", "node_offsets", "edge_offsets"):
            assert np.array_equal(getattr(data._graphs[split], name), getattr(chunk.graphs, name)), name
    assert json.loads((data.folder / "manifest.json").read_text())["source"]["dataset"] == "ZINC"


def test_paper_without_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch_geometric.datasets.zinc.download_url", refuse)
    with pytest.raises(ValueError, match="must be able to fetch ZINC") as caught:
        Zinc(batch_size=4, source="paper", data_dir=str(tmp_path)).prepare()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"val_share": 0}, "data.val_share"), ({"max_molecules": 1}, "data.max_molecules"), ({"rrwp_steps": -1}, "rrwp")],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Zinc(batch_size=4, **settings)


def test_grit_asks_for_walks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rrwp_steps 0"):
        ZincGRIT().make_network(open_zinc(tmp_path).facts())


@pytest.mark.parametrize(
    ("task", "optimizer"),
    [
        (
            lambda o: ZincGAT(optimizer=o, num_layers=2, num_heads=2, width=16),
            {"name": "adam", "lr": 0.02, "beta": 0.9},
        ),
        (
            lambda o: ZincGRIT(optimizer=o, num_layers=1, num_heads=2, width=8),
            {"name": "sgd", "lr": 0.02, "momentum": 0.9},
        ),
    ],
    ids=["gat", "grit"],
)
def test_a_run_learns(tmp_path: Path, data: Zinc, task: Any, optimizer: dict[str, Any]) -> None:
    assert data.folder is not None
    mine = Zinc(
        batch_size=8,
        budget_steps=150,
        source=data.source,
        data_dir=str(data.data_dir),
        rrwp_steps=21,
        val_share=0.2,
        num_workers=1,
    )
    config = {"seed_everything": 42, "data": {"init_args": {"batch_size": 8}}, "trainer": {"precision": None}}
    pair = task(optimizer)
    assert pair.batch_coupled
    store = Store(tmp_path)
    outcome = run_task(pair, mine, make_trainer(), config=config, store=store)
    curve = np.array(store.curves(outcome.record["run_id"])["train_loss"].to_pylist())
    epoch = mine.train_samples // 8
    assert curve[-epoch:].mean() < 0.7 * curve[:epoch].mean()
    final = outcome.record["metrics"]
    assert np.isfinite([final["val/loss"], final["val/rmse"]]).all()
