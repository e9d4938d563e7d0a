"""What a sweep trains after its grids: finalists, reporting seeds, diagnostics of the tuned settings."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from small_sweeps import identify, record, write

from suite.analysis.comparison import compare_plan
from suite.execution.jobs import jobs_of
from suite.records import Store
from suite.sweep import Plan, PlannedRun, read_spec


def test_chosen_settings_are_trained_again_with_reporting_seeds(tmp_path: Path) -> None:
    file = write(tmp_path / "s.yaml", seeds=[42], report_seeds=[7, 8], extend_edges=1, batch_size=1)
    store = Store(tmp_path / "store")
    plan = Plan(read_spec(file), identify)
    group = plan.groups[0]
    assert plan.extend_group(group, store) == []  # nothing has a result
    for run in group.runs:
        record(store, run.run_id, 1 + abs(math.log(run.axes["lr"] / 0.3)))
    (wider,) = plan.extend_group(group, store)  # the best lr lies on the edge: first the grid grows
    assert wider.axes["lr"] == pytest.approx(0.9) and not wider.reporting
    record(store, wider.run_id, math.inf)
    again = plan.extend_group(group, store)
    assert [(run.axes["lr"], run.seed, run.reporting) for run in again] == [(0.3, 7, True), (0.3, 8, True)]
    assert plan.extend_group(group, store) == []
    record(store, again[0].run_id, 9.0)  # what is reported does not choose
    assert plan.extend_group(group, store) == []


def test_finalists_are_chosen_among_with_further_seeds(tmp_path: Path) -> None:
    spec = {"seeds": [42], "finalists": {"settings": 2, "seeds": [5, 6]}, "report_seeds": [7], "batch_size": 1}
    file = write(tmp_path / "s.yaml", **spec, extend_edges=1, optimizers={"sgd": {"lr": [0.1, 0.3, 0.7, 0.9]}})
    plan, store = Plan(read_spec(file), identify), Store(tmp_path / "store")
    group = plan.groups[0]
    for run, loss in zip(group.runs, [2.0, 1.1, 1.0, math.inf], strict=True):
        record(store, run.run_id, loss)
    finalists = plan.extend_group(group, store)
    assert [(run.axes["lr"], run.seed) for run in finalists] == [(0.7, 5), (0.7, 6), (0.3, 5), (0.3, 6)]
    assert not any(run.reporting for run in finalists)
    assert plan.extend_group(group, store) == []  # they have no result yet
    for run, loss in zip(finalists, [1.0, math.inf, 1.2, 1.3], strict=True):
        record(store, run.run_id, loss)  # the first setting was lucky with one seed
    (again,) = plan.extend_group(group, store)
    assert (again.axes["lr"], again.seed, again.reporting) == (0.3, 7, True)
    record(store, again.run_id, 1.25)
    assert plan.extend_group(group, store) == []
    store.write_plan(plan.as_record(command="", title=""))
    (point,) = compare_plan(store, store.plan(plan.spec.plan_id)).tuned.itertuples()
    assert dict(point.setting)["lr"] == 0.3 and point.loss == 1.25
    assert point.selection_loss == pytest.approx((1.1 + 1.2 + 1.3) / 3) and point.edges == ()


def test_a_finalist_that_wins_on_an_edge_is_followed_past_it(tmp_path: Path) -> None:
    spec = {"seeds": [42], "finalists": {"settings": 2, "seeds": [5]}, "report_seeds": [7], "batch_size": 1}
    grid = {"sgd": {"lr": [0.1, 0.3, 0.9], "momentum": [0.8, 0.9]}}
    growth = {"extend_edges": 1, "extend_axes": ["lr", "momentum"]}
    plan = Plan(read_spec(write(tmp_path / "s.yaml", **spec, **growth, optimizers=grid)), identify)
    store, group = Store(tmp_path / "store"), plan.groups[0]
    losses = {(0.1, 0.8, 42): 1.2, (0.3, 0.9, 42): 1.1, (0.1, 0.8, 5): 1.0, (0.3, 0.9, 5): 1.9}

    def settle(runs: list[PlannedRun]) -> list[tuple[float, float, int]]:
        keys = [(round(run.axes["lr"], 7), round(run.axes["momentum"], 7), run.seed) for run in runs]
        for run, key in zip(runs, keys, strict=True):
            record(store, run.run_id, losses.get(key, 2.0))
        return keys

    assert len(settle(group.runs)) == 6
    grown = settle(plan.extend_group(group, store))  # the best momentum lies on the edge: the grid grows by a row
    assert grown == [(lr, 0.95, 42) for lr in (0.1, 0.3, 0.9)]
    assert settle(plan.extend_group(group, store)) == [(0.3, 0.9, 5), (0.1, 0.8, 5)]
    followed = settle(plan.extend_group(group, store))  # the winner lies on two other edges: only it goes on there
    assert followed == [(0.0333333, 0.8, 42), (0.0333333, 0.8, 5), (0.1, 0.6, 42), (0.1, 0.6, 5)]
    assert settle(plan.extend_group(group, store)) == [(0.1, 0.8, 7)]
    assert plan.extend_group(group, store) == []
    store.write_plan(plan.as_record(command="", title=""))
    (point,) = compare_plan(store, store.plan(plan.spec.plan_id)).tuned.itertuples()
    assert dict(point.setting) == {"lr": 0.1, "momentum": 0.8} and point.edges == ()


def test_a_setting_that_becomes_the_best_after_the_report_reports_as_well(tmp_path: Path) -> None:
    spec = {"seeds": [42], "finalists": {"settings": 2, "seeds": [5]}, "report_seeds": [7], "batch_size": 1}
    file = write(
        tmp_path / "s.yaml", **spec, optimizers={"lion": {"lr": [0.1, 0.3], "betas": [[0.9, 0.99]]}},
        until={"precision": 0.5, "level": 0.95, "most_runs": 100},
    )  # fmt: skip
    plan, store = Plan(read_spec(file), identify), Store(tmp_path / "store")
    group = plan.groups[0]
    for run, loss in zip(group.runs, [1.0, 1.1], strict=True):
        record(store, run.run_id, loss)
    first, second = plan.extend_group(group, store)
    record(store, first.run_id, 1.0)
    record(store, second.run_id, 1.1)
    early = plan.extend_group(group, store)
    assert {(run.axes["lr"], run.reporting) for run in early} == {(0.1, True)}
    for run in early:
        record(store, run.run_id, 1.0)
    record(store, second.run_id, 0.8)  # dropped, and trained again on another machine
    late = plan.extend_group(group, store)
    assert {(run.axes["lr"], run.seed) for run in late} == {(0.3, run.seed) for run in early}
    assert all(run.reporting for run in late)
    for run in late:
        record(store, run.run_id, 0.9)
    assert plan.extend_group(group, store) == []
    again = Plan(read_spec(file), identify)
    again.remember(plan.as_record(command="", title="")["runs"])
    (more,) = again.report_more({("", 1)}, [7, 8], store)
    assert (more.axes["lr"], more.seed) == (0.3, 8)


def test_values_that_are_lists_are_ranked_grown_around_and_reported(tmp_path: Path) -> None:
    pairs = [[0.9, 0.99], [0.95, 0.98]]
    spec = {"seeds": [42], "finalists": {"settings": 2, "seeds": [5]}, "report_seeds": [7], "batch_size": 1}
    file = write(tmp_path / "s.yaml", **spec, extend_edges=1, optimizers={"lion": {"lr": [0.1, 0.3], "betas": pairs}})
    plan, store = Plan(read_spec(file), identify), Store(tmp_path / "store")
    group = plan.groups[0]
    while new := [run for run in group.runs if not store.settled(run.run_id)] or plan.extend_group(group, store):
        for run in new:
            record(store, run.run_id, 1 + abs(math.log(run.axes["lr"] / 0.3)) + (run.axes["betas"] == pairs[0]))
    assert {run.axes["lr"] for run in group.runs} > {0.1, 0.3}  # the grid grew
    assert [run.axes["betas"] for run in group.runs if run.reporting] == [pairs[1]]
    store.write_plan(plan.as_record(command="", title=""))
    (point,) = compare_plan(store, store.plan(plan.spec.plan_id)).tuned.itertuples()
    assert dict(point.setting) == {"lr": 0.3, "betas": tuple(pairs[1])} and point.loss == 1


def test_tuned_settings_are_trained_again_with_diagnostics(tmp_path: Path) -> None:
    plain = read_spec(write(tmp_path / "s.yaml", seeds=[42], report_seeds=[7], batch_size=1))
    spec = read_spec(write(tmp_path / "s.yaml", seeds=[42], report_seeds=[7], batch_size=1, diagnose={"noise": {}}))
    assert spec.plan_id == plain.plan_id  # the answer rests on the same runs
    plan, store = Plan(spec, identify), Store(tmp_path / "store")
    group = plan.groups[0]
    for run in group.runs:
        record(store, run.run_id, 1 + abs(math.log(run.axes["lr"] / 0.1)))
    (again,) = plan.extend_group(group, store)
    assert again.reporting
    (measured,) = plan.extend_group(group, store)
    assert measured.diagnoses == again.run_id != measured.run_id and measured.axes == {"lr": 0.1}
    assert not measured.reporting and measured.seed == 7
    record(store, measured.run_id, 0.0)  # counts for nothing
    assert plan.extend_group(group, store) == []
    jobs = jobs_of(plan, group.runs, lambda key: 8)
    assert [len(job) for job in jobs] == [3, 1, 1]
