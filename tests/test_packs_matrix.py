"""Packs of every pair: each run of a pack is its single twin, up to what the order of summation decides.

In double precision the gradients of a pack are those of single runs. In single precision losses agree as far as
`moved_twins` says.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matrix import LEARNING_RATES, kind_of, resolved, settings
from moved_twins import MOVED, TOLERANCE, apart, move, require_near
from small_runs import run_task, run_tasks
from torch import Tensor
from torch.utils import _pytree as pytree

from suite.execution.matrix import describe_tasks
from suite.execution.resolver import Resolver
from suite.packs.packed_task import PackedTask
from suite.records import Store

PAIRS = sorted(describe_tasks())
QUICK = ("fineweb/gcnn", "fineweb/gdn", "fineweb/gpt", "fineweb/transformer_160m", "imagenet1k_lt/simple_vit",
         "imagenet21k/resnet20", "imagenet21k/transition", "imagenet21k/vit", "zinc/gat", "zinc/gcn", "zinc/grit",
         "toy/linear_bigram", "toy/quadratic")  # fmt: skip
"""One pair of each small network."""

CHAOTIC = "zinc/grit"

SPECS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "adam": {"beta": 0.95},
    "sophia": {"rho": 10.0, "every": 2},
}


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    for library in ("rdkit", "torch_geometric", "timm"):
        pytest.importorskip(library)
    return Resolver()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def configs_of(resolver: Resolver, pair: str, optimizer: str, data_dir: Path, steps: int) -> list[dict[str, Any]]:
    """Two runs of a pair, shrunk, that differ in their learning rates."""
    changed = settings(pair, "sample", str(data_dir), 1.0) | {"data.budget_steps": str(steps), "data.batch_size": "4"}
    changed |= {"data.eval_samples": "8", "data.max_molecules": "300", "data.train_images": "200"}
    changed |= {f"data.budget_{unit}": "null" for unit in ("tokens", "samples", "epochs")}
    known = resolved(resolver, pair, {})["data"]["init_args"]
    config = resolved(resolver, pair, {k: v for k, v in changed.items() if "model" in k or k[5:] in known})
    lr = (LEARNING_RATES.get(pair.rpartition("/")[2]) or LEARNING_RATES[kind_of(pair)])[optimizer != "sgd"]
    spec = SPECS[optimizer]
    configs = [copy.deepcopy(config) for _ in range(2)]
    for own, share in zip(configs, (1.0, 0.3), strict=True):
        own["model"]["init_args"]["optimizer"] = {"name": optimizer, "lr": share * lr, **spec}
    return configs


def losses(store: Store, record: dict[str, Any]) -> np.ndarray:
    return store.curves(record["run_id"])["train_loss"].to_numpy()


def single(resolver: Resolver, config: dict[str, Any], folder: Path, moved_by: int | None = None) -> np.ndarray:
    """Losses of a single run; with a seed, its initial weights and each gradient are moved as rounding could have."""
    task, data, trainer = resolver.build(config)
    if moved_by is not None:
        data.ensure_open()
        task.seed = config["seed_everything"]
        task.build_network(data.facts())
        move(task, moved_by)
    store = Store(folder)
    return losses(store, run_task(task, data, trainer, config=config, store=store).record)


def packed(resolver: Resolver, configs: list[dict[str, Any]], folder: Path, *, steps: str) -> list[np.ndarray]:
    _, data, trainer = resolver.build(configs[0])
    tasks, store = [resolver.build_data(config)[0] for config in configs], Store(folder)
    outcomes = run_tasks(
        tasks, data, trainer, configs=configs, store=store, steps=steps
    )  # fmt: skip
    return [losses(store, outcome.record) for outcome in outcomes]


def check(resolver: Resolver, pair: str, optimizer: str, data_dir: Path, folder: Path, steps: int, *seeds: int) -> None:
    """Train a pack, the twins of its runs and, where rounding alone decides, the twins moved."""
    configs = configs_of(resolver, pair, optimizer, data_dir, steps)
    for config, seed in zip(configs, seeds, strict=False):
        config["seed_everything"] = seed
    # As long runs are trained; in the first steps, half of the cases as short ones are.
    together = packed(
        resolver, configs, folder / "pack", steps="recorded" if steps > 3 or optimizer == "adam" else "plain"
    )
    for number, config in enumerate(configs):
        alone = single(resolver, config, folder / f"single{number}")
        off = apart(together[number], alone)
        if off.max() <= TOLERANCE:
            continue
        moved = [single(resolver, config, folder / f"moved{number}{seed}", moved_by=seed) for seed in range(MOVED)]
        spread = np.max([apart(other, alone) for other in moved], axis=0)
        print(f"{pair} {optimizer} run {number}: pack {off.max():.1e} off, moved twins {spread.max():.1e}")
        require_near(off, spread, chaotic=pair == CHAOTIC)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("pair", QUICK)
def test_every_network_takes_the_first_steps_of_its_twins(
    resolver: Resolver, data_dir: Path, tmp_path: Path, pair: str, optimizer: str
) -> None:
    check(resolver, pair, optimizer, data_dir, tmp_path, steps=3)


@pytest.mark.parametrize("pair", QUICK)
def test_every_network_takes_the_first_steps_of_its_twins_on_batches_of_its_own(
    resolver: Resolver, data_dir: Path, tmp_path: Path, pair: str
) -> None:
    """Two runs of different seeds: other weights and other batches."""
    check(resolver, pair, "sgd", data_dir, tmp_path, 3, 1, 2)


@pytest.mark.parametrize("pair", QUICK)
def test_every_network_that_predicts_classes_takes_second_gradients_as_its_twins_do(
    resolver: Resolver, data_dir: Path, tmp_path: Path, pair: str
) -> None:
    """The others are refused."""
    if pair.startswith(("zinc/", "toy/linear_bigram", "toy/quadratic")):
        with pytest.raises(ValueError, match="take sophia_ef"):
            resolver.build(configs_of(resolver, pair, "sophia", data_dir, 3)[0])
        return
    check(resolver, pair, "sophia", data_dir, tmp_path, 3, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("pair", PAIRS)
def test_every_pair_stays_as_near_to_its_twins_as_rounding_allows(
    resolver: Resolver, data_dir: Path, tmp_path: Path, pair: str, optimizer: str
) -> None:
    check(resolver, pair, optimizer, data_dir, tmp_path, steps=50)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_gradients_of_every_pair_are_those_of_its_twins_in_double_precision(
    resolver: Resolver, data_dir: Path, pair: str
) -> None:
    config = configs_of(resolver, pair, "sgd", data_dir, 50)[0]
    _, data, _ = resolver.build(config)
    data.ensure_open()
    data.seed = 42
    batch = next(data.blocks(data.plan(), 0))[0][0]
    batch = pytree.tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, batch)
    tasks = [resolver.build_data(config)[0] for _ in range(2)]
    for number, task in enumerate(tasks):
        task.seed = 42 + number
    packed = PackedTask(tasks, data.facts()).double()
    packed.skeleton[0].double()
    flat = packed.gradients([batch])

    for number, task in enumerate(tasks):
        task.build_network(data.facts())
        assert task.network is not None
        network = task.network.double().train()
        total, count = task.loss(network(*task.inputs(batch)), batch)
        (total / count).backward()
        alone = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
        largest = float(max(grad.abs().max() for grad in alone.values()))
        for name, both in packed.layout.views(flat).items():
            expected = alone.get(name, torch.zeros_like(both[number]))
            torch.testing.assert_close(both[number], expected, rtol=1e-9, atol=1e-11 * largest)
