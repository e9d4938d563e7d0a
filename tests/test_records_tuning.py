"""The tuned point and the grid's edge: one definition, for the sweep and for the analysis."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import Planted, write_store

from suite.analysis.table import load_runs
from suite.analysis.tuned import tuned_points
from suite.records import Store
from suite.records.tuning import Setting, Trial, edge, edges, ranked, setting_of
from suite.sweep.group import ranked_settings
from suite.sweep.planned_run import PlannedRun


def chosen_by_both(store: Store, plan: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The first setting of the sweep's ranking, and the tuned point of the analysis, of a plan with one grid."""
    (point,) = tuned_points(load_runs(store, plan)).itertuples(index=False)
    best = ranked_settings([PlannedRun(**run, settings={}) for run in plan["runs"]], store, plan["final_loss"])[0]
    return best, point


@pytest.mark.parametrize("diverges_above", [0.0, 0.5, 5.0])
def test_sweep_and_analysis_choose_the_same_setting_of_a_grid_that_grew(tmp_path: Path, diverges_above: float) -> None:
    # The lowest learning rate comes last in the plan: the grid grew towards it. At 0.0 every run diverges.
    planted = Planted(batch_sizes=(4,), lrs={"sgd": (1.0, 3.0, 0.05)}, diverges_above=diverges_above, seeds=(1, 2))
    best, point = chosen_by_both(*write_store(tmp_path, planted))
    assert setting_of(best) == point.setting
    assert best["lr"] == (1.0 if diverges_above == 5.0 else 0.05)
    assert ("lr", "smallest") in point.edges or diverges_above == 5.0


def test_seeds_that_report_a_diverged_grid_give_its_loss(tmp_path: Path) -> None:
    planted = Planted(batch_sizes=(4,), lrs={"sgd": (1.0, 3.0, 0.1)}, diverges_above=0.0)
    store, plan = write_store(tmp_path, planted)
    _, again = write_store(tmp_path, Planted(batch_sizes=(4,), lrs={"sgd": (0.1,)}, seeds=(7,), momenta=(0.9, 0.95)))
    plan["runs"] += [{**run, "reporting": True} for run in again["runs"]]
    best, point = chosen_by_both(store, plan)
    assert best == {"lr": 0.1, "momentum": 0.9} and point.apart and math.isfinite(point.loss)


A, B, C, D = (setting_of({"lr": lr}) for lr in (0.1, 0.2, 0.4, 0.8))


def trials(losses: dict[Setting, dict[int, float]]) -> list[Trial]:
    return [Trial(setting, seed, loss) for setting, by_seed in losses.items() for seed, loss in by_seed.items()]


def test_finalists_are_compared_over_all_their_seeds() -> None:
    # C is luckiest on seed 1, on which B beats A; over the seeds that the three share, A is best. D has seed 1 alone.
    grid = {A: {1: 1.3}, B: {1: 1.2}, C: {1: 1.1}, D: {1: 1.4}}
    further = {A: {2: 1.0, 3: 1.1}, B: {2: 1.2, 3: 1.2}, C: {2: 1.4, 3: 1.4}}
    assert ranked(trials(grid)) == [C, B, A, D]
    assert ranked(trials(grid) + trials(further)) == [A, B, C, D]


@pytest.mark.parametrize("extra", [{A: {2: 0.1}}, {D: {2: 0.1}}, {C: {1: 1.1}}, {A: {1: 0.1}}, {B: {1: 9.0}}])
def test_a_result_that_no_other_setting_has_changes_no_choice(extra: dict[Setting, dict[int, float]]) -> None:
    grid = {A: {1: 1.3}, B: {1: 1.2}, C: {1: 1.1}, D: {1: 1.4}}
    assert ranked(trials(grid) + trials(extra)) == [C, B, A, D]


def test_seeds_that_part_of_a_grid_has_decide_among_that_part() -> None:
    # With seed 2, on which losses are higher, a mean over each setting's own seeds would choose C.
    assert ranked(trials({A: {1: 1.1, 2: 2.1}, B: {1: 1.2, 2: 2.3}, C: {1: 1.3}, D: {1: 1.4}})) == [A, B, C, D]
    assert ranked(trials({A: {1: 1.1, 2: 2.3}, B: {1: 1.2, 2: 2.1}, C: {1: 1.3}, D: {1: 1.15}})) == [B, A, D, C]
    assert ranked(trials({A: {1: 1.1, 2: 2.0, 3: 9.0}, B: {1: 1.2, 2: 2.1}, C: {1: 1.3}})) == [A, B, C]
    assert ranked(trials({A: {1: 1.1}, B: {2: 1.2}, C: {3: 1.0, 4: 1.1}})) == [C, A, B]
    # C, the first on seed 1, lacks a seed: it does not win where most have two, but where a few have.
    assert ranked(trials({A: {1: 1.1, 2: 2.3}, B: {1: 1.2, 2: 2.1}, C: {1: 1.0}})) == [B, A, C]
    assert ranked(trials({A: {1: 1.1, 2: 2.3}, B: {1: 1.2, 2: 2.1}, C: {1: 1.0}, D: {1: 1.3}})) == [C, A, B, D]


def test_divergence_and_runs_after_the_choice_leave_a_setting_out() -> None:
    tried = trials({A: {1: 1.0, 2: 3.0}, B: {1: 1.5, 2: 2.0}, D: {1: 0.2, 2: math.inf}})
    assert ranked(tried) == [B, A]
    silent = [Trial(C, 1, 0.1, reporting=True), Trial(C, 2, 0.1, diagnosing=True), Trial(C, 3, math.nan)]
    assert ranked(tried + silent) == [B, A]
    assert ranked([Trial(D, 1, 1.0), Trial(A, 1, 1.0)]) == [D, A]
    assert ranked([]) == ranked([Trial(A, 1, math.nan)]) == []


def test_the_smallest_learning_rate_stands_for_what_diverged() -> None:
    settings = [{"beta": 0.9, "lr": 1.0}, {"beta": 0.99, "lr": 0.1}, {"beta": 0.95, "lr": 0.1, "policy": "x"}]
    assert ranked([Trial(setting_of(setting), 1, math.inf) for setting in settings]) == [setting_of(settings[2])]


def test_edges_need_an_order_and_something_beyond() -> None:
    tried = [setting_of({"lr": lr, "beta": beta, "policy": p}) for lr in (0.1, 1) for beta in (0, 0.9) for p in "ab"]
    assert edges(tried[0], tried) == [("lr", "low")]
    assert edges(tried[-1], tried) == [("beta", "high"), ("lr", "high")]
    assert edge(0.1, [0.1]) is None and edge(True, [False, True]) is None and edge(0.2, [0.1, 0.2, 0.3]) is None
