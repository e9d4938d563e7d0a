"""Sweeps that search: plans without a launcher, for losses that are written down here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from test_sweep_plan import Results, identify

from suite.cli.plans import parse_sweep, sweep_parser
from suite.execution.execute import Backlog
from suite.fields import ConfigError, read
from suite.records.schema import PLAN, fault
from suite.sweep import Plan, PlannedRun, SweepSpec
from suite.sweep.spec import SweepSettings
from suite.sweep.surface_search import SurfaceSearch
from suite.sweep.until import Until

OPTIMIZERS: dict[str, Any] = {
    "sgd": {"lr": {"decades": [-3, 0], "per_decade": 3}, "momentum": [0.8, 0.9, 0.95, 0.975]},
    "adam": {"lr": {"decades": [-4, -1], "per_decade": 3}, "beta": [0.8, 0.9, 0.95]},
}
SIZES = [1, 4, 16]


def spec_of(**changes: Any) -> SweepSpec:
    chosen = {"task": "toy/linear", "batch_size": SIZES, "seeds": [1], "optimizers": OPTIMIZERS, **changes}
    return SweepSpec(name="s", file="s.yaml", **{"search": "surface", **chosen})


def loss_of(run: PlannedRun, *, best: float = -1.5) -> float:
    """A bowl whose best learning rate grows with the batch size; too high a rate diverges."""
    start = best if run.optimizer == "sgd" else best - 1
    rate = math.log10(run.axes["lr"]) - start - 0.3 * math.log10(run.batch_size)
    slow = math.log10(1 - run.axes.get("momentum", run.axes.get("beta", 0.9))) + 1
    if rate > 1.2:
        return math.inf
    return 3 + 0.2 * rate**2 + 0.1 * (slow + 0.4 * rate) ** 2 + 0.001 * math.sin(99 * rate + 7 * slow + run.seed)


def carry_out(spec: SweepSpec, results: Results, *, stop_after: int = 10**9) -> tuple[Plan, list[str]]:
    """Train a sweep as its launcher would, two runs at a time; returns the plan and the ids in their order."""
    plan = Plan(spec, identify)
    backlog = Backlog(plan, results)  # type: ignore[arg-type]
    due, order = backlog.due(), []
    while due and len(order) < stop_after:
        job = tuple(due[:2])
        results.train(job, loss_of)
        order += [run.run_id for run in job]
        due = [*due[2:], *backlog.ended(job)]
    return plan, order


@pytest.fixture(scope="module")
def searched() -> tuple[Plan, Results]:
    results = Results()
    plan, _ = carry_out(spec_of(report_seeds=[7, 8]), results)
    return plan, results


def settings_of(plan: Plan) -> dict[str, list[str]]:
    return {str(group.key): sorted(run.run_id for run in group.runs) for group in plan.groups}


def test_a_search_finds_what_the_grid_finds_in_a_part_of_its_runs(searched: tuple[Plan, Results]) -> None:
    plan, results = searched
    whole, complete = Plan(spec_of(search="grid"), identify), Results()
    complete.train(whole.runs, loss_of)
    choosing = [run for run in plan.runs if not run.reporting]
    assert len(choosing) < 0.45 * len(whole.runs)
    assert {run.run_id for run in choosing} <= {run.run_id for run in whole.runs}
    for group, full in zip(plan.groups, whole.groups, strict=True):
        best = min(results.losses[run.run_id] for run in group.runs if not run.reporting)
        assert best <= 1.0025 * min(complete.losses[run.run_id] for run in full.runs)
        assert sum(run.reporting for run in group.runs) == 2


def test_the_middle_batch_size_is_searched_first_and_the_others_know_what_it_found() -> None:
    results = Results()
    plan = Plan(spec_of(), identify)
    assert {run.batch_size for run in plan.runs} == {4}
    plan, order = carry_out(spec_of(), results)
    runs = {run.run_id: run for run in plan.runs}
    of_sgd = [runs[run_id] for run_id in order if runs[run_id].optimizer == "sgd"]
    middle = [run for run in of_sgd if run.batch_size == 4]
    best = min(middle, key=loss_of)
    for size in (1, 16):
        first = [run for run in of_sgd if run.batch_size == size][:6]
        assert best.axes in [run.axes for run in first]


def test_a_search_that_is_stopped_anywhere_goes_on_to_the_same_settings(searched: tuple[Plan, Results]) -> None:
    plan, _ = searched
    for stop_after in (3, 11, 40):
        results = Results()
        carry_out(spec_of(report_seeds=[7, 8]), results, stop_after=stop_after)
        again, _ = carry_out(spec_of(report_seeds=[7, 8]), results)  # no plan is remembered, the results alone are
        assert settings_of(again) == settings_of(plan)


def test_a_plan_in_a_store_is_remembered(searched: tuple[Plan, Results]) -> None:
    plan, results = searched
    again = Plan(spec_of(report_seeds=[7, 8]), identify)
    again.remember(plan.as_record(command="", title="")["runs"])
    assert settings_of(again) == settings_of(plan)
    assert Backlog(again, results).due() == []  # type: ignore[arg-type]
    assert settings_of(again) == settings_of(plan)


def test_a_search_and_a_grid_share_runs(searched: tuple[Plan, Results]) -> None:
    plan, results = searched
    whole = Plan(spec_of(search="grid"), identify)
    in_store = {run.run_id for run in whole.runs} - {run.run_id for run in whole.missing(results)}  # type: ignore[arg-type]
    assert in_store == {run.run_id for run in plan.runs if not run.reporting}


def test_a_search_goes_past_the_ends_of_its_axes() -> None:
    results = Results()
    low = {"sgd": {"lr": {"decades": [-4, -3], "per_decade": 2}, "momentum": [0.9, 0.95]}}
    plan, _ = carry_out(spec_of(optimizers=low, batch_size=[4]), results)
    best = min(plan.runs, key=lambda run: results.losses[run.run_id])
    assert 0.01 <= best.axes["lr"] <= 0.1
    assert len(plan.runs) < 30


def test_a_search_where_all_diverges_ends_at_most() -> None:
    results = Results()
    high = {"sgd": {"lr": {"decades": [2, 4], "per_decade": 2}}}
    spec = spec_of(optimizers=high, batch_size=[4], search=SurfaceSearch(most=9))
    plan = Plan(spec, lambda run: (str(run.settings), 10))
    backlog = Backlog(plan, results)  # type: ignore[arg-type]
    due = backlog.due()
    while due:
        results.train(due, lambda run: math.inf)
        due = backlog.ended(tuple(due))
    assert len(plan.runs) <= 9


def test_a_search_trains_every_setting_with_every_seed() -> None:
    plan, _ = carry_out(spec_of(seeds=[1, 2], batch_size=[4]), Results())
    for group in plan.groups:
        seeds: dict[str, set[int]] = {}
        for run in group.runs:
            seeds.setdefault(str(run.axes), set()).add(run.seed)
        assert set(map(tuple, seeds.values())) == {(1, 2)}


def test_a_plan_of_a_grid_keeps_its_id() -> None:
    assert spec_of(search=None).plan_id != spec_of().plan_id


def test_any_sweep_may_be_searched_or_crossed_from_the_command_line(tmp_path: Path) -> None:
    text = "task: toy/quadratic\nbatch_size: 1\noptimizers: {sgd: {lr: [0.1, 1]}}\n"
    for name, search in (("grid", ""), ("few", "search: {most: 7}\n")):
        (tmp_path / f"{name}.yaml").write_text(text + search)

    def parsed(*words: str) -> tuple[SweepSpec, str]:
        _, spec, changes = parse_sweep(sweep_parser("gap", ""), [str(tmp_path / words[0]), *words[1:]])
        assert spec is not None
        return spec, changes

    assert parsed("grid.yaml")[0].surface is None
    searched, changes = parsed("grid.yaml", "--search", "surface")
    assert searched.surface == SurfaceSearch() and changes == " --search surface"
    assert parsed("grid.yaml", "--search", "grid")[0].plan_id == parsed("grid.yaml")[0].plan_id != searched.plan_id
    assert parsed("few.yaml", "--search", "grid")[0].surface is None


@pytest.mark.parametrize("search", ["bayes", 3, {"most": 0}, {"percent": 1}])
def test_what_is_no_search_is_refused(search: Any) -> None:
    with pytest.raises(ConfigError, match="search"):
        values = read(SweepSettings, {"task": "toy/linear", "batch_size": [1], "search": search}, name="")
        SweepSpec(name="s", file="s", **{**vars(values), "optimizers": OPTIMIZERS})


def test_the_plan_says_how_far_each_search_is(searched: tuple[Plan, Results]) -> None:
    plan, results = searched
    record = plan.as_record(command="", title="")["search"]
    assert (record["precision"], record["chance"], record["most"]) == (0.25, 0.1, 40)
    assert [group["grid"] for group in record["groups"]].count(40) == len(SIZES)
    Backlog(plan, results).due()  # type: ignore[arg-type]
    assert all(group["over"] for group in plan.as_record(command="", title="")["search"]["groups"])
    assert fault({**plan.as_record(command="", title=""), "runs": []}, PLAN, "") is None
    assert "search" not in Plan(spec_of(search=None), identify).as_record(command="", title="")


# Until there is a verdict.


def test_looks_double_the_seeds_and_use_none_that_chose() -> None:
    looks = spec_of(seeds=[5], until=Until()).looks
    assert looks[0] == [6, 7, 8]
    assert [len(look) for look in looks] == [3, 6, 12, 24]
    listed = spec_of(seeds=[5], report_seeds=[1, 9, 3, 4], until=Until()).looks
    assert listed[1] == [1, 9, 3, 4, 10, 11, 12, 13]
    assert spec_of(report_seeds=[7]).looks == [[7]]


def test_further_reporting_seeds_are_those_of_the_points_that_need_them_and_are_remembered() -> None:
    spec, results = spec_of(search=None, batch_size=[1, 4], until=Until()), Results()
    plan, _ = carry_out(spec, results)
    added = plan.report_more({("", 4)}, spec.looks[1], results)
    assert {run.batch_size for run in added} == {4}
    assert all(run.reporting for run in added)
    assert {(run.optimizer, run.seed) for run in added} == {(o, s) for o in OPTIMIZERS for s in (5, 6, 7)}
    assert plan.report_more({("", 4)}, spec.looks[1], results) == []
    again = Plan(spec, identify)
    again.remember(plan.as_record(command="", title="")["runs"])
    assert settings_of(again) == settings_of(plan)


def test_until_takes_the_place_of_the_margin_and_leaves_the_plan_its_id() -> None:
    assert spec_of(until=Until(precision=1.0)).within == 1.0
    assert spec_of(until=Until()).plan_id == spec_of().plan_id
    with pytest.raises(ConfigError, match=r"until\.level"):
        read(SweepSettings, {"until": {"level": 1.5}}, name="")
