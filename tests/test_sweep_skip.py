"""Settings that a sweep's YAML skips are not trained, in grids and in searches, and the report names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_records import Planted, write_store

from suite.analysis.comparison import compare_plan
from suite.fields import ConfigError
from suite.sweep import Plan, read_spec
from suite.sweep.planned_run import GroupKey
from suite.sweep.skip import is_skipped

SWEEP: dict[str, Any] = {
    "task": "toy/quadratic", "batch_size": [1, 4], "seeds": [1, 2],
    "optimizers": {
        "sgd": {"lr": {"decades": [-1, 1], "per_decade": 2}, "momentum": [0.9, 0.99]},
        "adam": {"lr": [0.1, 0.2, 0.3]},
    },
}  # fmt: skip


def plan_of(folder: Path, skip: list[dict[str, Any]], **changes: Any) -> Plan:
    (folder / "s.yaml").write_text(yaml.safe_dump({**SWEEP, "skip": skip, **changes}))
    return Plan(read_spec(folder / "s.yaml"), lambda run: (f"{run.settings}{run.batch_size}{run.seed}", 10))


def tried(plan: Plan) -> set[tuple[Any, ...]]:
    return {(run.optimizer, run.batch_size, *run.axes.values()) for run in plan.runs}


def test_a_grid_lacks_what_is_skipped_and_nothing_else(tmp_path: Path) -> None:
    whole = tried(plan_of(tmp_path, []))
    skip = [{"optimizer": "sgd", "lr": 3.16}, {"optimizer": "adam", "batch_size": 4, "lr": [0.1, 0.3]}]
    left = tried(plan_of(tmp_path, skip))
    gone = {("sgd", size, 3.16228, momentum) for size in (1, 4) for momentum in (0.9, 0.99)}
    assert whole - left == gone | {("adam", 4, 0.1), ("adam", 4, 0.3)} and left < whole


def test_a_search_lacks_it_too(tmp_path: Path) -> None:
    skip = [{"optimizer": "sgd", "momentum": 0.99}]
    surface = plan_of(tmp_path, skip, search="surface", batch_size=[1])
    assert {run.axes["momentum"] for run in surface.runs if run.optimizer == "sgd"} == {0.9}


@pytest.mark.parametrize(
    ("asked", "value", "same"),
    [
        (3.16, 3.16228, True), (0.316, 0.316228, True), (0.99, 0.995, False), (0.995, 0.995, True),
        (1.0, 1.33, False), (1, 1.0, True), (0.001, 0.00316228, False), (1e-5, 1e-5, True), ("none", "none", True),
        (10**400, 1.0, False), (float("nan"), 1.0, False), ({"a": 1}, 1.0, False),
        (0.999, 0.9995, False), (0.9995, 0.9995, True), (10.0, 10.0, True), (100, 100.0, True), (2.15, 2.15443, True),
    ],
)  # fmt: skip
def test_numbers_agree_by_the_digits_that_are_typed(asked: Any, value: Any, same: bool) -> None:
    assert is_skipped([{"x": asked}], GroupKey("", "sgd", 1), {"x": value}) is same


@pytest.mark.parametrize(
    ("skip", "sentence"),
    [
        ([{"optimizer": "sgd", "lr": 0.5}], "matches none"),
        ([{"optimizer": "sgd", "rl": 0.1}], "'rl', which is no axis of a grid (did you mean 'lr'?)"),
        ([{"optimizer": "adam", "batch_size": 4}], "none of adam at batch size 4"),
        ([{}], "none of adam at batch size 1"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, skip: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan_of(tmp_path, skip)
    assert sentence in str(error.value) and str(error.value).count(". ") == 0


def test_plans_that_skip_nothing_keep_their_ids_and_reports_name_what_was_skipped(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(SWEEP))
    before = read_spec(tmp_path / "s.yaml").plan_id
    assert plan_of(tmp_path, []).spec.plan_id == before
    skipping = plan_of(tmp_path, [{"optimizer": "sgd", "lr": [3.16, 10]}])
    assert skipping.spec.plan_id != before
    record = skipping.as_record(command="", title="")
    store, (plan,) = (written := write_store(tmp_path / "runs", Planted(batch_sizes=(1,), steps=20)))[0], [written[1]]
    compared = compare_plan(store, {**plan, "skip": record["skip"]})
    assert any("lr 3.16 or 10, optimizer sgd" in note for note in compared.notes)
