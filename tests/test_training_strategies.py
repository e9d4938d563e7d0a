"""Strategies and precisions of Lightning under which numbers would be wrong without a word: refused, or corrected."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from small_runs import make_data, make_trainer, train

from suite.records import Store
from suite.training.strategies import refuse_other_strategies


def test_processes_started_within_the_training_are_refused_before_the_data(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", batch_size=4)
    with pytest.raises(ValueError, match=r"ddp_spawn, ddp_fork, ddp_notebook\).* set it to ddp\."):
        train(Store(tmp_path / "runs"), data, trainer={"devices": 2, "strategy": "ddp_spawn"})
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        (FSDPStrategy(), "trainer.strategy fsdp joins parameters"),
        (ModelParallelStrategy(), "got ModelParallelStrategy, under which gradients would not be clipped"),
    ],
)
def test_strategies_under_which_clipping_is_wrong_are_refused(strategy: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        refuse_other_strategies(SimpleNamespace(strategy=strategy))  # type: ignore[arg-type]


def test_one_device_and_ddp_are_accepted() -> None:
    refuse_other_strategies(make_trainer())
    refuse_other_strategies(make_trainer(strategy="ddp"))


@pytest.mark.parametrize("rule", [{"name": "adam", "lr": 1e-2, "beta": 0.9}, {"name": "signum", "lr": 1e-3}])
def test_gradients_of_a_scaled_loss_are_clipped_at_their_own_scale(rule: dict[str, Any], tmp_path: Path) -> None:
    """Adam is fused and unscales in its step; signum leaves it to Lightning."""
    curves = {}
    for scale in (1.0, 2.0**10):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
        store = Store(tmp_path / f"runs-{scale}")
        data = make_data(tmp_path / "data", budget_steps=6)
        outcome = train(store, data, rule, trainer={"plugins": [plugin]}, model={"clip_norm": 0.1})
        curves[scale] = store.curves(outcome.record["run_id"])
    assert min(curves[1.0]["grad_norm"].to_pylist()) > 0.1  # every step is clipped
    for column in ("train_loss", "grad_norm"):
        assert curves[2.0**10][column].to_pylist() == pytest.approx(curves[1.0][column].to_pylist(), rel=1e-2)
