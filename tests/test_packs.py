"""Packs: every run of a pack is its single twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from small_packs import SPECS, config_of, curve, pack
from small_runs import SGD, make_data, make_task, make_trainer, run_tasks, train

from suite.packs.pack import PackRefused
from suite.records import Store


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("specs", SPECS.values(), ids=SPECS)
def test_every_run_of_a_pack_is_its_single_twin(tmp_path: Path, data_dir: Path, specs: list[dict[str, Any]]) -> None:
    together, alone = Store(tmp_path / "pack"), Store(tmp_path / "single")
    settings = {"budget_steps": 50, "batch_size": 4, "micro_batch": 2, "eval_every_steps": 20}
    outcomes = pack(together, make_data(data_dir, **settings), specs)
    assert [o.record["optimizer"]["lr"] for o in outcomes] == [s.get("lr", 1.0) for s in specs]
    for spec, outcome in zip(specs, outcomes, strict=True):
        twin = train(alone, make_data(data_dir, **settings), spec).record
        got = outcome.record
        assert got["run_id"] == twin["run_id"] and got["status"] == "finished"
        assert set(got) - {"pack"} == set(twin) and got["parameters"] == twin["parameters"]
        ours, theirs = together.curves(got["run_id"]), alone.curves(twin["run_id"])
        assert ours.column_names == theirs.column_names
        for column in ("train_loss", "lr", "grad_norm"):
            tolerance = 2e-3 if spec["name"] in ("muon", "signum") else 1e-4
            np.testing.assert_allclose(ours[column].to_numpy(), theirs[column].to_numpy(), rtol=tolerance)
        assert got["final"]["val"] == pytest.approx(twin["final"]["val"], rel=1e-3)


def test_rates_that_end_at_the_same_value_whatever_their_peak_are_those_of_single_twins(
    tmp_path: Path, data_dir: Path
) -> None:
    model = {"schedule": {"name": "warmup_cosine", "warmup_steps": 4, "from_zero": True, "final_lr": 1e-3}}
    together, alone = Store(tmp_path / "pack"), Store(tmp_path / "single")
    outcomes = pack(together, make_data(data_dir), SPECS["adam"], model=model)
    for spec, outcome in zip(SPECS["adam"], outcomes, strict=True):
        twin = train(alone, make_data(data_dir), spec, model=model).record
        ours, theirs = (store.curves(twin["run_id"]) for store in (together, alone))
        assert outcome.record["run_id"] == twin["run_id"]
        np.testing.assert_allclose(ours["lr"].to_numpy(), theirs["lr"].to_numpy(), rtol=1e-12)
        np.testing.assert_allclose(ours["train_loss"].to_numpy(), theirs["train_loss"].to_numpy(), rtol=1e-4)
        assert ours["lr"][0].as_py() == 0 and ours["lr"][4].as_py() == spec["lr"]
        assert ours["lr"][39].as_py() == pytest.approx(1e-3, rel=0.02)


def test_a_diverged_run_leaves_the_others_bitwise_unchanged(tmp_path: Path, data_dir: Path) -> None:
    calm = [{"name": "sgd", "lr": 0.1}, {"name": "sgd", "lr": 0.2}]
    wild = [calm[0], {"name": "sgd", "lr": 1e30}, calm[1]]
    model = {"clip_norm": None}
    expected = pack(Store(tmp_path / "a"), make_data(data_dir), calm, model=model)
    got = pack(Store(tmp_path / "b"), make_data(data_dir), wild, model=model)
    assert [o.record["status"] for o in got] == ["finished", "diverged", "finished"]
    assert got[0].record["final"] == expected[0].record["final"]
    assert got[2].record["final"] == expected[1].record["final"]
    twin = train(Store(tmp_path / "c"), make_data(data_dir), wild[1], model=model).record
    assert got[1].record["diverged_at"] == twin["diverged_at"] and got[1].record["run_id"] == twin["run_id"]


def test_a_pack_resumes_bit_equal(tmp_path: Path, data_dir: Path) -> None:
    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 4:
                raise KeyboardInterrupt

    expected = pack(Store(tmp_path / "whole"), make_data(data_dir, block_steps=3), SPECS["adam"])
    store = Store(tmp_path / "cut")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        stopping = make_trainer(callbacks=[Stop()])
        pack(store, make_data(data_dir, block_steps=3), SPECS["adam"], trainer=stopping, checkpoint_seconds=0)
    assert not list(store.records()) and len(list(store.path.glob("packs/*/checkpoint.ckpt"))) == 1
    got = pack(store, make_data(data_dir, block_steps=3), SPECS["adam"])
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.record["final"] == theirs.record["final"]
        assert store.curves(ours.record["run_id"]).equals(Store(tmp_path / "whole").curves(theirs.record["run_id"]))
    assert not list(store.path.glob("packs/*"))


def test_settled_runs_are_not_trained_again(tmp_path: Path, data_dir: Path) -> None:
    store = Store(tmp_path)
    first = train(store, make_data(data_dir), SPECS["sgd"][1]).record
    outcomes = pack(store, make_data(data_dir), SPECS["sgd"])
    assert [o.trained for o in outcomes] == [True, False, True, True]
    assert outcomes[1].record == first


def test_a_run_does_not_depend_on_the_size_of_its_pack(tmp_path: Path, data_dir: Path) -> None:
    finals = []
    for size in (1, 2, 4):
        store = Store(tmp_path / str(size))
        finals.append(pack(store, make_data(data_dir), SPECS["sgd"][:size])[0].record["final"]["ema"])
    np.testing.assert_allclose(finals, finals[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("specs", "part"),
    [
        ([{"name": "torch.optim.NAdam", "lr": lr} for lr in (0.1, 0.2)], "one run at a time"),
        ([{"name": "sgd", "lr": 0.1}, {"name": "adam", "lr": 0.1}], "differ in numbers alone"),
        ([{"name": "sgd", "lr": 0.1}, {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True}], "numbers alone"),
    ],
)
def test_what_cannot_be_packed_is_refused_with_a_reason(
    tmp_path: Path, data_dir: Path, specs: list[dict[str, Any]], part: str
) -> None:
    with pytest.raises(PackRefused, match=part):
        pack(Store(tmp_path), make_data(data_dir), specs)
    with pytest.raises(PackRefused, match="32-true or bf16-mixed"):
        pack(Store(tmp_path), make_data(data_dir), SPECS["sgd"], trainer=make_trainer(precision="64-true"))


def test_a_pack_in_bf16_is_as_near_to_its_twins_as_bf16_to_float32(tmp_path: Path, data_dir: Path) -> None:
    specs, settings = SPECS["adam"], {"budget_steps": 30, "micro_batch": 2}
    store = Store(tmp_path / "pack")
    together = pack(store, make_data(data_dir, **settings), specs, trainer=make_trainer(precision="bf16-mixed"))
    for spec, outcome in zip(specs, together, strict=True):
        low, full = Store(tmp_path / "low"), Store(tmp_path / "full")
        twin = curve(low, train(low, make_data(data_dir, **settings), spec, trainer={"precision": "bf16-mixed"}))
        single = curve(full, train(full, make_data(data_dir, **settings), spec))
        ours = curve(store, outcome)
        rounding = np.abs(twin / single - 1).mean()
        assert rounding > 0 and np.abs(ours / single - 1).max() > 0
        assert np.abs(ours / twin - 1).mean() < rounding


def test_the_dead_leave_a_pack_and_the_living_go_on_as_before(tmp_path: Path, data_dir: Path) -> None:
    calm = [{"name": "adam", "lr": lr, "beta": 0.9} for lr in (1e-3, 1e-2)]
    wild = [{**calm[0], "lr": lr} for lr in (1e30, 1e31, 1e32)]
    model, settings = {"clip_norm": None}, {"block_steps": 5, "eval_every_steps": 10}
    rows = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            rows.append(pl_module.rows.tolist())
            if len(rows) == 5:
                raise KeyboardInterrupt

    expected = pack(Store(tmp_path / "a"), make_data(data_dir, **settings), calm, model=model)
    specs = [wild[0], calm[0], wild[1], calm[1], wild[2]]
    store = Store(tmp_path / "b")
    stopping = {"trainer": make_trainer(callbacks=[Watch()]), "checkpoint_seconds": 0}
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        pack(store, make_data(data_dir, **settings), specs, model=model, **stopping)
    assert rows[0] == [0, 1, 2, 3, 4] and rows[-1] == [1, 3]
    got = pack(store, make_data(data_dir, **settings), specs, model=model)
    assert [o.record["status"] for o in got] == ["diverged", "finished", "diverged", "finished", "diverged"]
    for ours, theirs in zip((got[1], got[3]), expected, strict=True):
        assert ours.record["final"] == theirs.record["final"]


def test_runs_of_several_seeds_share_a_pack_where_they_see_the_same_batches(tmp_path: Path, data_dir: Path) -> None:
    data = make_data(data_dir, order_seed=7)
    configs = [{**config_of(SGD, data, {}), "seed_everything": seed} for seed in (1, 2)]
    store, options = Store(tmp_path / "pack"), {"configs": configs}
    together = run_tasks([make_task(SGD), make_task(SGD)], data, make_trainer(), store=store, **options)
    for seed, outcome in zip((1, 2), together, strict=True):
        alone = Store(tmp_path / "single")
        twin = train(alone, make_data(data_dir, order_seed=7), SGD, seed=seed)
        assert outcome.record["run_id"] == twin.record["run_id"] and outcome.record["seed"] == seed
        np.testing.assert_allclose(curve(store, outcome), curve(alone, twin), rtol=1e-4)


@pytest.mark.parametrize("steps", ["plain", "recorded"])
def test_runs_of_several_seeds_see_their_own_batches(tmp_path: Path, data_dir: Path, steps: str) -> None:
    """A run of each seed diverges, so that the pack is compacted to rows of both."""
    settings = {"budget_steps": 40, "batch_size": 4, "micro_batch": 2, "block_steps": 4}
    wild = {"name": "sgd", "lr": 1e30, "momentum": 0.9}
    specs = [(SGD, 1), (wild, 1), (wild, 2), ({**SGD, "lr": 0.1}, 2)]
    data, store, alone = make_data(data_dir, **settings), Store(tmp_path / "pack"), Store(tmp_path / "single")
    configs = [{**config_of(spec, data, {}), "seed_everything": seed} for spec, seed in specs]
    tasks = [make_task(spec, clip_norm=None) for spec, _ in specs]
    got = run_tasks(tasks, data, make_trainer(), store=store, configs=configs, steps=steps)
    assert [outcome.record["status"] for outcome in got] == ["finished", "diverged", "diverged", "finished"]
    for (spec, seed), outcome in zip(specs, got, strict=True):
        twin = train(alone, make_data(data_dir, **settings), spec, seed=seed, model={"clip_norm": None})
        np.testing.assert_allclose(curve(store, outcome), curve(alone, twin), rtol=1e-4)
        assert outcome.record["metrics"] == pytest.approx(twin.record["metrics"], rel=1e-3)
    assert not np.allclose(curve(store, got[0])[:3], curve(store, got[3])[:3], rtol=1e-3)


def test_diagnosed_runs_of_several_seeds_are_trained_one_by_one(tmp_path: Path, data_dir: Path) -> None:
    data, model = make_data(data_dir), {"diagnostics": {"clipping": {}}}
    configs = [{**config_of(SGD, data, model), "seed_everything": seed} for seed in (1, 2)]
    with pytest.raises(PackRefused, match="batches that the runs share"):
        tasks = [make_task(SGD, **model) for _ in configs]
        run_tasks(tasks, data, make_trainer(), store=Store(tmp_path), configs=configs)


def test_attention_folds_the_run_dimension() -> None:
    from models.attention import attend

    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 4, 8, 16, requires_grad=True) for _ in "qkv")
    folded = torch.func.vmap(lambda q, k, v: attend(q, k, v, causal=True))(q, k, v)
    looped = torch.stack([attend(q[r], k[r], v[r], causal=True) for r in range(3)])
    torch.testing.assert_close(folded, looped)
    for ours, theirs in zip(
        torch.autograd.grad(folded.square().sum(), (q, k, v)),
        torch.autograd.grad(looped.square().sum(), (q, k, v)),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(ours, theirs)
    shared = torch.func.vmap(lambda q: attend(q, k[0], v[0], causal=True))(q)
    torch.testing.assert_close(shared[1], attend(q[1], k[0], v[0], causal=True))
