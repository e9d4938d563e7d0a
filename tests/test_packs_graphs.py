"""Packs whose steps are graphs, compiled or executed as recorded: they compute what plain steps do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_packs import SPECS, curve, pack
from small_runs import make_data, make_trainer

from suite.optim.kernels import has_compiler
from suite.packs import compiled_step
from suite.records import Store


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler("cpu"), reason="no C++ compiler")
def test_compiled_packs_equal_uncompiled_ones_and_share_a_graph(tmp_path: Path, data_dir: Path) -> None:
    settings = {"budget_steps": 12, "eval_every_steps": 6}
    model = {"schedule": {"name": "wsd", "warmup_steps": 3, "cooldown_share": 0.5, "final_lr": 1e-3}}
    graphs = []
    for number, specs in enumerate((SPECS["adam"][:2], SPECS["adam"][2:])):
        fast, plain = Store(tmp_path / f"fast{number}"), Store(tmp_path / f"plain{number}")
        compiled = pack(fast, make_data(data_dir, **settings), specs, steps="compiled", model=model)
        eager = pack(plain, make_data(data_dir, **settings), specs, model=model)
        for ours, theirs in zip(compiled, eager, strict=True):
            assert ours.record["pack"] == {"runs": 2, "compiled": True}
            np.testing.assert_allclose(curve(fast, ours), curve(plain, theirs), rtol=1e-5)
            assert ours.record["final"]["val"] == pytest.approx(theirs.record["final"]["val"], rel=1e-5)
        graphs.append(set(compiled_step._GRAPHS))
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("name", ["sgd", "adam", "hybrid"])
def test_a_recorded_step_is_the_plain_one_bit_for_bit(tmp_path: Path, data_dir: Path, name: str) -> None:
    specs = [*SPECS[name], {**SPECS[name][0], "lr": 1e31}] if name == "adam" else SPECS[name]  # one diverges
    settings = {"budget_steps": 12, "batch_size": 4, "micro_batch": 2, "eval_every_steps": 5}
    outcomes, known = {}, set(compiled_step._GRAPHS)
    for steps in ("plain", "recorded"):
        store = Store(tmp_path / steps)
        assert not set(compiled_step._GRAPHS) - known
        model = {"clip_norm": None} if name == "adam" else {}
        ended = pack(store, make_data(data_dir, **settings), specs, steps=steps, model=model)
        outcomes[steps] = [(x.record["status"], x.record["final"], store.curves(x.record["run_id"])) for x in ended]
    assert set(compiled_step._GRAPHS) - known
    for (status, final, curves), (same_status, same_final, same_curves) in zip(*outcomes.values(), strict=True):
        assert same_status == status and same_final == pytest.approx(final, rel=0, nan_ok=True)
        assert same_curves.equals(curves) or status == "diverged"
    assert ("diverged" in {status for status, *_ in outcomes["recorded"]}) == (name == "adam")


def test_a_recorded_step_in_bf16_is_the_plain_one(tmp_path: Path, data_dir: Path) -> None:
    settings, losses = {"budget_steps": 8}, []
    for steps in ("plain", "recorded"):
        store, trainer = Store(tmp_path / steps), make_trainer(precision="bf16-mixed")
        ended = pack(store, make_data(data_dir, **settings), SPECS["adam"], trainer=trainer, steps=steps)
        losses.append([curve(store, outcome) for outcome in ended])
    np.testing.assert_array_equal(*losses)


def test_rules_that_order_the_parameters_otherwise_do_not_share_a_recording(tmp_path: Path, data_dir: Path) -> None:
    settings = {"budget_steps": 6, "batch_size": 2}
    for name in ("signum", "hybrid"):  # both of two runs
        losses = []
        for steps in ("plain", "recorded"):
            store = Store(tmp_path / f"{name}{steps}")
            ended = pack(store, make_data(data_dir, **settings), SPECS[name], steps=steps)
            losses.append([curve(store, outcome) for outcome in ended])
        np.testing.assert_array_equal(*losses)


def test_short_runs_are_not_recorded_and_what_cannot_be_is_trained_plainly(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = set(compiled_step._GRAPHS)
    settings = {"budget_steps": 6, "seq_len": 8}
    assert pack(Store(tmp_path / "short"), make_data(data_dir, **settings), SPECS["sgd"])[0].trained
    assert set(compiled_step._GRAPHS) == known
    monkeypatch.setattr("suite.packs.pack.RECORD_FROM", 6)

    def untraceable(*_: Any) -> Any:
        raise compiled_step.NotCompiled("it cannot be traced")

    with monkeypatch.context() as broken:
        broken.setattr(compiled_step, "_traced", untraceable)
        store = Store(tmp_path / "broken")
        assert pack(store, make_data(data_dir, **settings), SPECS["sgd"])[0].record["status"] == "finished"
    assert set(compiled_step._GRAPHS) == known
    pack(Store(tmp_path / "long"), make_data(data_dir, **settings), SPECS["sgd"])
    assert set(compiled_step._GRAPHS) != known


def test_a_step_that_draws_random_numbers_is_not_compiled() -> None:
    step = compiled_step.CompiledStep(lambda x: torch.nn.functional.dropout(x, 0.5), "dropout")
    assert step(torch.ones(3)) is None
    with pytest.raises(compiled_step.NotCompiled, match="random"):
        step(torch.ones(3))


def test_what_comes_in_many_shapes_is_not_compiled() -> None:
    step = compiled_step.CompiledStep(lambda x: x + 1, "shapes")
    with pytest.raises(compiled_step.NotCompiled, match="many shapes"):
        for size in range(10):
            assert step(torch.ones(size)) is None
