"""Batches of molecules filled up to one shape: the same losses, gradients and statistics, and steps that compile."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit")
pytest.importorskip("torch_geometric")

from moved_twins import MOVED, apart, move, require_near
from small_runs import make_trainer, run_task, run_tasks

from suite.optim.kernels import has_compiler
from suite.packs.runs_optimizer import RunsOptimizer
from suite.packs.runs_step import RunsStep
from suite.records import Store
from tasks.zinc.batch import filled, rooms
from tasks.zinc.data import Zinc
from tasks.zinc.gat import ZincGAT
from tasks.zinc.gcn import ZincGCN
from tasks.zinc.grit import ZincGRIT

TASKS: dict[str, tuple[Any, dict[str, int]]] = {
    "gat": (ZincGAT, {"num_layers": 2, "num_heads": 2, "width": 16}),
    "gcn": (ZincGCN, {"num_layers": 2, "width": 16}),
    "grit": (ZincGRIT, {"num_layers": 2, "num_heads": 2, "width": 16}),
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zinc")


def open_zinc(folder: Path, name: str, **settings: Any) -> Zinc:
    settings = {"batch_size": 4, "num_workers": 1, "budget_steps": 12, "eval_samples": 20, **settings}
    data = Zinc(data_dir=str(folder), max_molecules=200, rrwp_steps=5 if name == "grit" else 0, **settings)
    data.ensure_open()
    return data


def make_task(name: str, **recipe: Any) -> Any:
    kind, sizes = TASKS[name]
    return kind(**sizes, **recipe)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [1, 7])
def test_every_network_is_blind_to_filler(data_dir: Path, name: str, size: int) -> None:
    data = open_zinc(data_dir, name)
    task = make_task(name)
    task.build_network(data.facts())
    plain = task.network.double().train()
    other = copy.deepcopy(plain)
    # Room to spare, so that filler is there whatever the molecules.
    room = rooms(data._graphs["train"].sizes(pairs=name == "grit"), size + 1)[1]
    batch = data.gather("train", np.arange(3, 3 + size))
    batch = batch._replace(target=batch.target.double())
    full = filled(batch, [room])
    assert (len(full.atoms), len(full.bonds)) == (room.atoms, room.edges) and len(full.target) == size
    losses = []
    for network, given in ((plain, batch), (other, full)):
        total, count = task.loss(network(*task.inputs(given)), given)
        assert count == size
        total.backward()
        losses.append(total.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-9, atol=1e-9)
    for (key, ours), theirs in zip(other.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), key
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-9)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", TASKS)
def test_filled_batches_have_very_few_shapes(data_dir: Path, name: str) -> None:
    data = open_zinc(data_dir, name, batch_size=8, micro_batch=4)
    data.trainer = SimpleNamespace(lightning_module=SimpleNamespace(same_shapes=True))
    batches = data.gather_steps(data.plan(), 0, 12)
    plain = data.gather_many("train", np.concatenate([data.plan().indices(step) for step in range(12)]))
    assert len({tuple(batch.atoms.shape + batch.bonds.shape) for batch in batches}) <= 2
    assert len({tuple(batch.atoms.shape + batch.bonds.shape) for batch in plain}) > 2
    for ours, theirs in zip(batches, plain, strict=True):
        assert torch.equal(ours.target, theirs.target) and torch.equal(ours.atoms[: len(theirs.atoms)], theirs.atoms)


def test_what_exceeds_the_usual_room_gets_the_largest(data_dir: Path) -> None:
    data = open_zinc(data_dir, "gat")
    nodes, edges, _ = sizes = data._graphs["train"].sizes(pairs=False)
    usual, most = rooms(sizes, 100)
    assert usual.atoms < most.atoms == 100 * nodes.max() + 1 and usual.edges < most.edges == 100 * edges.max()
    largest = np.full(100, nodes.argmax())
    assert len(filled(data.gather("train", largest), [usual, most]).atoms) == most.atoms


SPECS = [{"name": "adam", "lr": lr, "beta": 0.9} for lr in (1e-3, 1e-2)]


def config_of(spec: dict[str, Any]) -> dict[str, Any]:
    inside = {"batch_size": 4, "budget_steps": 12}
    return {"seed_everything": 42, "model": {"init_args": {"optimizer": spec}}, "data": {"init_args": inside},
            "trainer": {"precision": None}}  # fmt: skip


def losses(store: Store, outcome: Any) -> np.ndarray:
    return store.curves(outcome.record["run_id"])["train_loss"].to_numpy()


def pack(name: str, data_dir: Path, folder: Path, *, compiled: bool) -> list[np.ndarray]:
    """Losses of the runs of a pack."""
    data, store = open_zinc(data_dir, name), Store(folder)
    tasks, configs = [make_task(name, optimizer=spec) for spec in SPECS], [config_of(spec) for spec in SPECS]
    steps = "compiled" if compiled else "auto"
    outcomes = run_tasks(tasks, data, make_trainer(), configs=configs, store=store, steps=steps)
    assert all(outcome.record["pack"]["compiled"] is compiled for outcome in outcomes)
    return [losses(store, outcome) for outcome in outcomes]


def alone(name: str, number: int, data_dir: Path, folder: Path, moved_by: int | None = None) -> np.ndarray:
    """Losses of a run of the pack alone; with a seed, of its moved twin."""
    data, store, task = open_zinc(data_dir, name), Store(folder), make_task(name, optimizer=SPECS[number])
    if moved_by is not None:
        task.seed = 42
        task.build_network(data.facts())
        move(task, moved_by)
    return losses(store, run_task(task, data, make_trainer(), config=config_of(SPECS[number]), store=store))


def check_compiled(name: str, data_dir: Path, folder: Path) -> None:
    """Hold the compiled pack against the uncompiled one; where rounding decides, as near as moved twins are."""
    plain, compiled = (pack(name, data_dir, folder / str(c), compiled=c) for c in (False, True))
    for number, (ours, theirs) in enumerate(zip(compiled, plain, strict=True)):
        off = apart(ours, theirs)
        if off.max() <= 2e-4:
            continue
        single = alone(name, number, data_dir, folder / f"single{number}")
        twins = [alone(name, number, data_dir, folder / f"{number}{s}", moved_by=s) for s in range(MOVED)]
        spread = np.max([apart(twin, single) for twin in twins], axis=0)
        print(f"{name} run {number}: compiled {off.max():.1e} off, moved twins {spread.max():.1e}")
        require_near(off, spread, chaotic=name == "grit", tolerance=2e-4)


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler("cpu"), reason="no C++ compiler")
@pytest.mark.parametrize("name", TASKS)
def test_every_compiled_pack_of_graphs_equals_an_uncompiled_one(tmp_path: Path, data_dir: Path, name: str) -> None:
    check_compiled(name, data_dir, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler("cpu"), reason="no C++ compiler")
def test_a_wrong_compiled_pack_of_the_most_chaotic_network_is_noticed(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault: what is traced steps along gradients of which a fiftieth is the other run's."""
    move_runs = RunsOptimizer.move

    def faulty(self: RunsOptimizer, step: RunsStep) -> None:
        grad = step.grad.lerp(step.grad.flip(0), 0.02) if step.is_traced else step.grad
        move_runs(self, dataclasses.replace(step, grad=grad))

    monkeypatch.setattr(RunsOptimizer, "move", faulty)
    with pytest.raises(AssertionError, match="off at step"):
        check_compiled("grit", data_dir, tmp_path)
