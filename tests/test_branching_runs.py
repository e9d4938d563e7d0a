"""Runs that keep weights on their way, and runs that start from them on the data that is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from small_runs import ADAM, SGD, make_data, make_task, make_trainer, run_task, run_tasks

from suite.packs.pack import PackRefused
from suite.records import Store, StoreError, run_id_of
from suite.training import Outcome
from suite.training.opening import identity_of
from tasks.fineweb.data import FineWeb
from tasks.fineweb.gpt import FineWebGPT

CONSTANT = {"name": "constant"}
PLAIN_SGD = {"name": "sgd", "lr": 0.1}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


class Seen:
    """Remembers the sample numbers of every batch that a dataset gives."""

    def __init__(self, data: FineWeb) -> None:
        self.batches: list[list[int]] = []
        gather = data.gather_steps

        def remember(plan: Any, first: int, end: int) -> list[Any]:
            self.batches += [plan.indices(step).ravel().tolist() for step in range(first, end)]
            return gather(plan, first, end)

        data.gather_steps = remember  # type: ignore[method-assign]


def config_of(data: FineWeb, spec: dict[str, Any], model: dict[str, Any], seed: int = 42) -> dict[str, Any]:
    chosen = {"batch_size": data.batch_size, "budget_steps": data.budget_steps, "start_step": data.start_step}
    return {
        "seed_everything": seed,
        "model": {"init_args": {"optimizer": spec, **model}},
        "data": {"init_args": chosen},
        "trainer": {"precision": None},
    }


def train(store: Store, data: FineWeb, spec: dict[str, Any], seed: int = 42, **model: Any) -> Outcome:
    trainer, options = model.pop("trainer", None) or make_trainer(), model.pop("options", {})
    config = config_of(data, spec, model, seed)
    task = make_task(spec, **model)
    return run_task(task, data, trainer, config=config, store=store, **options)


def losses(store: Store, outcome: Outcome) -> list[float]:
    return store.curves(outcome.record["run_id"])["train_loss"].to_pylist()


def test_trunk_and_branch_see_the_batches_and_losses_of_an_unbroken_run(tmp_path: Path, data_dir: Path) -> None:
    store, plain = Store(tmp_path / "trunk"), Store(tmp_path / "plain")
    whole = make_data(data_dir, budget_steps=40)
    seen = Seen(whole)
    expected = train(plain, whole, PLAIN_SGD, schedule=CONSTANT)
    trunk = train(store, make_data(data_dir, budget_steps=40), PLAIN_SGD, schedule=CONSTANT, keep_weights_at=[13, 27])
    assert trunk.record["run_id"] == expected.record["run_id"] and sorted(trunk.record["weights"]) == ["13", "27"]
    assert losses(store, trunk) == losses(plain, expected)  # keeping weights changes nothing
    for step in (13, 27):
        left = make_data(data_dir, budget_steps=40, start_step=step)
        mine = Seen(left)
        initial = {"run": trunk.record["run_id"], "step": step}
        branch = train(store, left, PLAIN_SGD, schedule=CONSTANT, initial=initial)
        assert branch.record["steps"] == 40 - step and branch.record["run_id"] != trunk.record["run_id"]
        assert mine.batches == seen.batches[step:]
        assert losses(store, branch) == losses(plain, expected)[step:]
    assert not list(store.foreign_files())


def test_no_sample_comes_twice_within_an_epoch(data_dir: Path) -> None:
    whole = make_data(data_dir, budget_steps=None, budget_epochs=1, batch_size=16)
    whole.ensure_open()
    step = whole.steps // 3
    branch = make_data(data_dir, budget_steps=None, budget_epochs=1, batch_size=16, start_step=step)
    branch.ensure_open()
    assert branch.steps == whole.steps - step
    trunk = np.concatenate([whole.plan().indices(s).ravel() for s in range(step)])
    rest = Seen(branch)
    assert len(list(branch.blocks(branch.plan(), 0))) > 0
    assert not set(trunk.tolist()) & set(np.concatenate(rest.batches).tolist())
    assert len(trunk) + sum(map(len, rest.batches)) == whole.steps * 16


def test_an_interrupted_trunk_and_branch_end_as_undisturbed_ones(tmp_path: Path, data_dir: Path) -> None:
    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 4:
                raise KeyboardInterrupt

    def both(store: Store, *, cut: bool) -> list[Any]:
        trunk = ended(store, {"keep_weights_at": [6, 20]}, 0, cut=cut)
        branch = ended(store, {"initial": {"run": trunk.record["run_id"], "step": 20}}, 20, cut=cut)
        weights = trunk.record["weights"]
        return [weights, *((o.record["run_id"], o.record["final"], losses(store, o)) for o in (trunk, branch))]

    def ended(store: Store, model: dict[str, Any], start: int, *, cut: bool) -> Outcome:
        settings = {"budget_steps": 40, "block_steps": 3, "start_step": start}
        if cut:
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                stopping = {"trainer": make_trainer(callbacks=[Stop()]), "options": {"checkpoint_seconds": 0}}
                train(store, make_data(data_dir, **settings), ADAM, **stopping, **model)
        outcome = train(store, make_data(data_dir, **settings), ADAM, **model)
        assert outcome.trained and outcome.record["status"] == "finished"
        return outcome

    assert both(Store(tmp_path / "calm"), cut=False) == both(Store(tmp_path / "cut"), cut=True)


def test_weights_that_are_gone_are_made_again(tmp_path: Path, data_dir: Path) -> None:
    store = Store(tmp_path)
    first = train(store, make_data(data_dir), SGD, schedule=CONSTANT)
    again = train(store, make_data(data_dir), SGD, schedule=CONSTANT, keep_weights_at=[10])
    assert again.trained and again.record["run_id"] == first.record["run_id"]
    assert losses(store, again) and again.record["final"] == first.record["final"]
    kept = train(store, make_data(data_dir), SGD, schedule=CONSTANT, keep_weights_at=[10])
    assert not kept.trained
    sums = again.record["weights"]
    store.weights(first.record["run_id"], 10).unlink()
    assert not store.settled(first.record["run_id"], [10]) and store.settled(first.record["run_id"])
    anew = train(store, make_data(data_dir), SGD, schedule=CONSTANT, keep_weights_at=[10])
    assert anew.trained and anew.record["weights"] == sums


def test_a_pack_of_branches_is_its_single_twins(tmp_path: Path, data_dir: Path) -> None:
    together, alone = Store(tmp_path / "pack"), Store(tmp_path / "single")
    for store in (together, alone):
        trunks = [
            train(store, make_data(data_dir, order_seed=7), ADAM, seed, schedule=CONSTANT, keep_weights_at=[15])
            for seed in (1, 2)
        ]
    specs = [{"name": "sgd", "lr": lr, "momentum": 0.9} for lr in (0.1, 0.3)]
    settings = {"start_step": 15, "order_seed": 7}
    initials = [{"run": trunk.record["run_id"], "step": 15} for trunk in trunks]
    cases = [(spec, seed, initial) for seed, initial in zip((1, 2), initials, strict=True) for spec in specs]
    data = make_data(data_dir, **settings)
    outcomes = run_tasks(
        [make_task(spec, schedule={"name": "linear"}, initial=initial) for spec, _, initial in cases],
        data,
        make_trainer(),
        configs=[
            config_of(data, spec, {"schedule": {"name": "linear"}, "initial": initial}, seed)
            for spec, seed, initial in cases
        ],
        store=together,
    )
    for (spec, seed, initial), outcome in zip(cases, outcomes, strict=True):
        twin = train(alone, make_data(data_dir, **settings), spec, seed, schedule={"name": "linear"}, initial=initial)
        assert outcome.record["run_id"] == twin.record["run_id"] and outcome.record["steps"] == 25
        np.testing.assert_allclose(losses(together, outcome), losses(alone, twin), rtol=1e-4)
    with pytest.raises(PackRefused, match="by itself"):
        tasks = [make_task(spec, keep_weights_at=[3]) for spec in specs]
        configs = [config_of(data, spec, {}) for spec in specs]
        run_tasks(tasks, data, make_trainer(), configs=configs, store=together)


def test_what_cannot_be_started_from_is_refused_with_a_reason(tmp_path: Path, data_dir: Path) -> None:
    store = Store(tmp_path)

    def branch(run_id: str, step: int, **settings: Any) -> Outcome:
        initial = {"run": run_id, "step": step}
        return train(store, make_data(data_dir, start_step=step, **settings), SGD, initial=initial)

    with pytest.raises(StoreError, match="no record"):
        branch("0" * 16, 5)
    trunk = train(store, make_data(data_dir), SGD, schedule=CONSTANT, keep_weights_at=[5, 9]).record["run_id"]
    with pytest.raises(StoreError, match="after step 6"):
        branch(trunk, 6)
    with pytest.raises(ValueError, match="must leave steps of the budget, which is 9 steps"):
        branch(trunk, 9, budget_steps=9)
    with pytest.raises(ValueError, match="must fit the network"):
        train(
            store, make_data(data_dir, seq_len=16, start_step=5), SGD, initial={"run": other_network(store), "step": 5}
        )
    store.weights(trunk, 9).write_bytes(b"other")
    with pytest.raises(StoreError, match="as they were written"):
        branch(trunk, 9)
    wild = {"name": "sgd", "lr": 1e30}
    died = train(store, make_data(data_dir), wild, clip_norm=None, keep_weights_at=[30])
    assert died.record["status"] == "diverged" and store.settled(died.record["run_id"], [30])
    with pytest.raises(StoreError, match="status diverged"):
        branch(died.record["run_id"], 30)
    for wrong in ({"run": "../x", "step": 1}, {"run": trunk}, {"run": trunk, "step": 0}, {"run": trunk, "step": "5"}):
        with pytest.raises(ValueError, match=r"model\.initial must be"):
            make_task(SGD, initial=wrong)
    with pytest.raises(ValueError, match="from 1 to 40"):
        train(store, make_data(data_dir), SGD, keep_weights_at=[41])
    with pytest.raises(ValueError, match=r"data\.start_step"):
        make_data(data_dir, start_step=-1)


def other_network(store: Store) -> str:
    """A finished run whose weights at step 5 are of no network here."""
    import pyarrow as pa

    run_id = "a" * 16
    store.write_weights(run_id, 5, lambda path: torch.save({"w": torch.zeros(1)}, path))
    store.write_record(
        {"run_id": run_id, "status": "finished", "task": "t", "optimizer": {}, "batch_size": 1, "seed": 1, "steps": 10,
         "final": {"ema": 1.0}, "metrics": {}, "config": {}, "weights": store.sums_of_weights(run_id, [5])},
        pa.table({"step": [0], "train_loss": [1.0]}),
    )  # fmt: skip
    return run_id


def test_records_with_weights_are_carried_between_stores(tmp_path: Path, data_dir: Path) -> None:
    there, here = Store(tmp_path / "a"), Store(tmp_path / "b")
    trunk = train(there, make_data(data_dir), SGD, schedule=CONSTANT, keep_weights_at=[5, 9]).record["run_id"]
    here.import_record(trunk, there.export_record(trunk, weights=[9]))
    assert here.weights(trunk, 9).read_bytes() == there.weights(trunk, 9).read_bytes()
    assert not here.settled(trunk, [5])
    here.import_record(trunk, there.export_record(trunk))
    assert here.settled(trunk, [5, 9])


def test_runs_without_branching_keep_their_id() -> None:
    def identified(model: dict[str, Any], data: dict[str, Any]) -> str:
        config = {"model": {"init_args": model}, "data": {"init_args": data}}
        return run_id_of(identity_of(config, FineWebGPT, FineWeb, fingerprint="f"))[0]

    plain = identified({"width": 8}, {"batch_size": 4})
    assert plain == identified(
        {"width": 8, "initial": None, "keep_weights_at": [3]}, {"batch_size": 4, "start_step": 0}
    )
    branch = {"initial": {"run": "0" * 16, "step": 3}}
    ids = {plain, identified({"width": 8, **branch}, {"batch_size": 4, "start_step": 3})}
    ids |= {
        identified({"width": 8, **branch}, {"batch_size": 4}),
        identified({"width": 8}, {"batch_size": 4, "start_step": 3}),
    }
    assert len(ids) == 4 and all(json.dumps(i) for i in ids)
