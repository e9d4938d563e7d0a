"""Diagnostics along a run: they are recorded, and nothing else changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from diagnostic_examples import EXAMPLES
from lightning.pytorch import Callback
from random_images import RandomImages
from small_runs import ADAM, losses, make_data, make_task, make_trainer, run_task, run_tasks, train

from suite.diagnostics.catalogue import CATALOGUE, diagnostic_class, parse
from suite.diagnostics.frequency import Frequency
from suite.diagnostics.updates import Updates
from suite.optim import ConfigError
from suite.packs.pack import PackRefused
from suite.records import Store, run_id_of
from suite.training import Outcome
from suite.training.opening import identity_of
from tasks.imagenet21k.resnet20 import ImageNet21kResNet20
from tasks.toy.data import NoisyQuadratic
from tasks.toy.quadratic import ToyQuadratic

STEPS = 16


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def fit(store: Store, data_dir: Path, diagnostics: dict[str, Any] | None = None, **options: Any) -> Outcome:
    data = make_data(data_dir, budget_steps=STEPS, block_steps=options.pop("block_steps", 5))
    return train(store, data, ADAM, model={"diagnostics": diagnostics} if diagnostics else {}, **options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> list[Any]:
    store = Store(tmp_path_factory.mktemp("plain"))
    outcome = fit(store, data_dir)
    assert store.diagnostics(outcome.record["run_id"]) is None
    return [losses(store, outcome), outcome.record["metrics"]]


def test_every_diagnostic_has_an_example_and_says_what_it_is() -> None:
    assert set(EXAMPLES) == set(CATALOGUE)
    for name in CATALOGUE:
        assert diagnostic_class(name).__doc__ and CATALOGUE[name][1]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_diagnostic_leaves_training_alone(tmp_path: Path, data_dir: Path, name: str, plain: list[Any]) -> None:
    store = Store(tmp_path)
    outcome = fit(store, data_dir, {name: EXAMPLES[name]})
    assert [losses(store, outcome), outcome.record["metrics"]] == plain
    assert outcome.record["diagnostics"]["names"] == [name]
    found = store.diagnostics(outcome.record["run_id"])
    assert found is not None and set(found["diagnostic"].to_pylist()) <= {name}
    assert found.num_rows > 0 or name == "clipped_coordinates"
    # Weights that are zero at the start make some ratios infinite; nothing that was measured later is lost.
    late = [v for v, s in zip(found["value"].to_pylist(), found["step"].to_pylist(), strict=True) if s >= STEPS // 2]
    resolved = [v for v in late if math.isfinite(v)]
    assert len(resolved) >= 0.5 * len(late)


def test_a_resumed_run_ends_with_the_same_table(tmp_path: Path, data_dir: Path) -> None:
    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                raise KeyboardInterrupt

    asked = {name: EXAMPLES[name] for name in ("agreement", "clipping", "noise", "frequency")}
    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    run_id = fit(whole, data_dir, asked, block_steps=3).record["run_id"]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(cut, data_dir, asked, block_steps=3, trainer={"callbacks": [Stop()]}, checkpoint_seconds=0)
    assert fit(cut, data_dir, asked, block_steps=3).record["status"] == "finished"
    expected = whole.diagnostics(run_id)
    assert expected is not None and expected.num_rows > 20
    pd.testing.assert_frame_equal(expected.to_pandas(), cut.diagnostics(run_id).to_pandas())
    # Nor does the table depend on how many steps Lightning executes at once.
    other = Store(tmp_path / "other")
    fit(other, data_dir, asked, block_steps=16)
    pd.testing.assert_frame_equal(expected.to_pandas(), other.diagnostics(run_id).to_pandas())


def test_every_run_of_a_pack_finds_what_its_single_twin_does(tmp_path: Path, data_dir: Path) -> None:
    asked = {name: EXAMPLES[name] for name in EXAMPLES if diagnostic_class(name).packable}
    specs = [{**ADAM, "lr": lr} for lr in (1e-3, 1e-2)]
    together, alone = Store(tmp_path / "pack"), Store(tmp_path / "single")

    def data() -> Any:
        return make_data(data_dir, budget_steps=STEPS, block_steps=5)

    def config(spec: dict[str, Any]) -> dict[str, Any]:
        return {
            "seed_everything": 42,
            "model": {"init_args": {"optimizer": spec, "diagnostics": asked}},
            "data": {"init_args": {"batch_size": 4, "budget_steps": STEPS}},
            "trainer": {"precision": None},
        }

    outcomes = run_tasks(
        [make_task(spec, diagnostics=asked) for spec in specs], data(), make_trainer(),
        configs=[config(spec) for spec in specs], store=together,
    )  # fmt: skip
    for spec, outcome in zip(specs, outcomes, strict=True):
        twin = train(alone, data(), spec, model={"diagnostics": asked}).record
        assert outcome.record["run_id"] == twin["run_id"]
        ours, theirs = (s.diagnostics(twin["run_id"]).to_pandas() for s in (together, alone))
        keys = ["step", "diagnostic", "quantity", "group"]
        assert ours[keys].equals(theirs[keys])
        # Products with the Hessian, signs and tails magnify what rounding leaves between the two.
        stable = ours["quantity"].isin(["norm_before", "norm_after", "clipped_share", "loss", "share", "trace"])
        assert stable.sum() > 20
        for a, b in zip(ours["value"][stable], theirs["value"][stable], strict=True):
            assert a == pytest.approx(b, rel=2e-3, nan_ok=True)


def test_running_statistics_stay_as_they_are(tmp_path: Path) -> None:
    asked = {
        "noise": {"every": 3, "gradients": 4, "group": 4, "batch_sizes": [1]}, "frequency": {"every": 3, "samples": 8},
        "sharpness": {"every": 3, "samples": 4}, "clipping": {"every": 3},
    }  # fmt: skip
    specs = [{"name": "sgd", "lr": lr, "momentum": 0.9} for lr in (0.01, 0.05)]

    def data() -> RandomImages:
        return RandomImages(batch_size=8, budget_steps=7)

    def outcomes(diagnostics: dict[str, Any] | None, *, packed: bool) -> tuple[list[Any], Store]:
        store = Store(tmp_path / f"{bool(diagnostics)}{packed}")
        tasks = [
            ImageNet21kResNet20(blocks_per_stage=1, width=4, optimizer=spec, diagnostics=diagnostics) for spec in specs
        ]
        settings = {"diagnostics": diagnostics} if diagnostics else {}
        configs = [
            {"seed_everything": 42, "model": {"init_args": {"optimizer": spec, **settings}}, "data": {}}
            for spec in specs
        ]
        if packed:
            return run_tasks(tasks, data(), make_trainer(), configs=configs, store=store), store
        one = [
            run_task(task, data(), make_trainer(), config=config, store=store)
            for task, config in zip(tasks, configs, strict=True)
        ]
        return one, store

    for packed in (False, True):
        (plain, at), (watched, seen) = outcomes(None, packed=packed), outcomes(asked, packed=packed)
        for without, with_them in zip(plain, watched, strict=True):
            assert losses(at, without) == losses(seen, with_them)
            assert without.record["metrics"] == with_them.record["metrics"]
            found = seen.diagnostics(with_them.record["run_id"]).to_pandas()
            assert set(found["diagnostic"]) == set(asked)
            norms = found[found["quantity"] == "norm_before"].set_index("step")["value"]
            curve = seen.curves(with_them.record["run_id"])["grad_norm"].to_pylist()
            assert [curve[step] for step in norms.index] == pytest.approx(norms.tolist(), rel=1e-4)


def test_a_pack_refuses_what_is_measured_of_single_runs_alone(tmp_path: Path, data_dir: Path) -> None:
    tasks = [make_task({**ADAM, "lr": lr}, diagnostics={"clipped_coordinates": {}}) for lr in (1e-3, 1e-2)]
    with pytest.raises(PackRefused, match="clipped_coordinates"):
        run_tasks(
            tasks,
            make_data(data_dir),
            make_trainer(),
            configs=[{"model": {"init_args": {}}}] * 2,
            store=Store(tmp_path),
        )


def test_what_has_no_classes_is_refused_before_training(tmp_path: Path) -> None:
    data = NoisyQuadratic(batch_size=4, noise="gaussian", budget_steps=3)
    task = ToyQuadratic(name="toy/quadratic", optimizer=ADAM, diagnostics={"frequency": {"first": False}})
    with pytest.raises(ValueError, match="needs data with classes"):
        run_task(task, data, make_trainer(), config={}, store=Store(tmp_path))
    assert not list(Store(tmp_path).records())


def test_an_identity_changes_only_where_diagnostics_are_asked_for() -> None:
    def run_id(**settings: Any) -> str:
        return run_id_of(
            identity_of({"model": {"init_args": settings}}, ToyQuadratic, NoisyQuadratic, fingerprint="f")
        )[0]

    assert run_id() == run_id(diagnostics=None) == run_id(diagnostics={})
    assert run_id() != run_id(diagnostics={"clipping": {}}) != run_id(diagnostics={"noise": {}})


def test_steps_are_those_that_a_diagnostic_asks_for() -> None:
    def steps(end: int, **settings: Any) -> list[int]:
        return [step for step in range(end + 1) if Frequency(**settings).due(step, end)]

    assert steps(20, every=5, first=False) == [5, 10, 15, 20]
    assert steps(20, every=8, last=False) == [0, 8, 16]
    assert steps(1000, times=2) == [0, 10, 100, 1000]
    assert [step for step in range(21) if Updates(every=8).due(step, 20)] == [0, 8, 16, 19]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"clippin": {}}, "did you mean 'clipping'"),
        ({"clipping": {"evry": 3}}, "no setting 'evry'"),
        ({"clipping": {"every": 0}}, "at least 1"),
        ({"clipping": 3}, "must be a mapping"),
        ({"noise": {"gradients": 7}}, "even number"),
        ({"suite.optim.SGD": {}}, "must name a Diagnostic"),
        ({"agreement": {"optimizers": {"nsgd": {"name": "nsgd"}}}}, "single coordinates"),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(spec)
