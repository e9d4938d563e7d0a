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
from suite.records.tuning import Trial, edge, edges, ranked, setting_of
from suite.sweep.plan import ranked_settings
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


def test_the_mean_over_the_most_seeds_decides() -> None:
    a, b, c, d = (setting_of({"lr": lr}) for lr in (0.1, 0.2, 0.4, 0.8))
    trials = [
        Trial(a, 1.0),
        Trial(a, 3.0),
        Trial(b, 1.5),
        Trial(b, 2.0),
        Trial(c, 0.1),
        Trial(d, 0.2),
        Trial(d, math.inf),
    ]
    assert ranked(trials) == [b, a]
    silent = [Trial(c, 0.1, reporting=True), Trial(c, 0.1, diagnosing=True), Trial(c, math.nan)]
    assert ranked(trials + silent) == [b, a]
    assert ranked([Trial(d, 1.0), Trial(a, 1.0)]) == [d, a]
    assert ranked([]) == ranked([Trial(a, math.nan)]) == []


def test_the_smallest_learning_rate_stands_for_what_diverged() -> None:
    settings = [{"beta": 0.9, "lr": 1.0}, {"beta": 0.99, "lr": 0.1}, {"beta": 0.95, "lr": 0.1, "policy": "x"}]
    trials = [Trial(setting_of(setting), math.inf) for setting in settings]
    assert ranked(trials) == [setting_of(settings[2])]


def test_edges_need_an_order_and_something_beyond() -> None:
    tried = [setting_of({"lr": lr, "beta": beta, "policy": p}) for lr in (0.1, 1) for beta in (0, 0.9) for p in "ab"]
    assert edges(tried[0], tried) == [("lr", "low")]
    assert edges(tried[-1], tried) == [("beta", "high"), ("lr", "high")]
    assert edge(0.1, [0.1]) is None and edge(True, [False, True]) is None and edge(0.2, [0.1, 0.2, 0.3]) is None
