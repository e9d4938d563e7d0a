"""What tuning costs, how forgiving an optimizer is, what reporting seeds say."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_records import Planted, write_store
from test_analysis_gap import runs_table

from suite.analysis.comparison import compare_plan
from suite.analysis.figures.tuning_cost import tuning_cost_figure
from suite.analysis.gap import gap_table
from suite.analysis.lr_width import lr_width_sentences, lr_width_table
from suite.analysis.tuned import tuned_points
from suite.analysis.tuning_cost import COLUMNS, best_of_draws, tuning_cost_sentences, tuning_cost_table


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=7))
def test_best_of_draws_is_the_mean_over_all_subsets(losses):
    mean, spread = best_of_draws(losses)
    for k in range(1, len(losses) + 1):
        best = [min(chosen) for chosen in itertools.combinations(losses, k)]
        assert mean[k - 1] == pytest.approx(np.mean(best), abs=1e-9)
        assert spread[k - 1] == pytest.approx(np.std(best), abs=1e-6)


def test_best_of_draws_of_a_large_grid_keeps_its_precision():
    losses = np.random.default_rng(0).normal(3, 1, 2100)
    mean, _ = best_of_draws(losses)
    assert mean[0] == pytest.approx(losses.mean()) and mean[-1] == losses.min()
    assert (np.diff(mean) <= 1e-12).all()


def test_a_winner_that_depends_on_the_trials_is_named():
    # Adam is good nearly everywhere; SGD is best at one setting and bad elsewhere.
    rows = [("adam", 4, 0.1 * k, loss) for k, loss in enumerate([1.2, 1.0, 1.01, 1.3], 1)]
    rows += [("sgd", 4, 0.1 * k, loss) for k, loss in enumerate([2.5, 0.9, 0.92, math.inf], 1)]
    runs = runs_table([(*row, seed) for row in rows for seed in (1, 2)])
    gaps = gap_table(runs)
    cost = tuning_cost_table(runs, gaps, {("toy/net", 4): 3.0})
    first, last = cost.iloc[0], cost.iloc[-1]
    assert first["trials"] == 1 and last["trials"] == 4
    assert first["challenger_loss"] == pytest.approx((2.5 + 0.9 + 0.92 + 3.0) / 4)  # diverged: the untrained loss
    assert last["gap"] == pytest.approx(0.1) and gaps["better"][0] == "sgd"
    (sentence,) = tuning_cost_sentences(cost)
    assert sentence.startswith(
        "Which of Adam and SGD has the lower expected loss depends on the number of random trials: at batch size 4 "
        "Adam from 1, SGD from"
    )
    unknown = tuning_cost_table(runs, gaps)
    assert unknown.iloc[0]["challenger_loss"] == pytest.approx((2.5 + 0.9 + 0.92 + 2.5) / 4)


def cost_rows(size, gaps, winners):
    fixed = {"task": "t", "batch_size": size, "challenger": "sgd", "reference": "adam"}
    rows = [{**fixed, "trials": k + 1, "gap": gap, "winner": winners[k]} for k, gap in enumerate(gaps)]
    return pd.DataFrame(rows)


def test_a_curve_that_changes_sign_is_not_called_independent_of_the_trials():
    same, turns = cost_rows(4, [-1.0, -0.5], ["adam", "adam"]), cost_rows(16, [-1.0, 0.1], ["adam", None])
    nobody = cost_rows(64, [-0.1, -0.1], [None, None])
    (sentence,) = tuning_cost_sentences(pd.concat([same, turns]))
    assert "changes sign with the number of random trials at batch size 16, though not beyond" in sentence
    (sentence,) = tuning_cost_sentences(pd.concat([same, nobody]))
    assert sentence == (
        "Which of Adam and SGD has the lower expected loss does not depend on the number of random trials at batch "
        "size 4; elsewhere neither is lower by more than the tuned gap's uncertainty."
    )
    assert tuning_cost_sentences(nobody) == []
    (sentence, _) = tuning_cost_sentences(pd.concat([turns, same.assign(task="u")]))
    assert sentence.startswith("The expected gap between Adam and SGD on t changes sign")


def test_nothing_is_said_of_random_trials_where_settings_were_searched():
    rows = [(optimizer, size, 0.1 * k, 1.0 + k) for optimizer in ("adam", "sgd") for size in (4, 16) for k in (1, 2)]
    runs = runs_table([(*row, seed) for row in rows for seed in (1, 2)])
    lattice = (("lr", (0.1, 0.2, 0.3)),)
    searched = (runs["batch_size"] == 4) & (runs["optimizer"] == "sgd")
    runs["lattice"] = [lattice if each else () for each in searched]
    gaps = gap_table(runs)
    assert set(gaps["batch_size"]) == {4, 16}
    assert set(tuning_cost_table(runs, gaps)["batch_size"]) == {16}
    runs["lattice"] = [lattice] * len(runs)
    none = tuning_cost_table(runs, gaps)
    assert none.empty and list(none) == COLUMNS and tuning_cost_sentences(none) == []
    assert tuning_cost_figure(none, ["adam", "sgd"]) is None


def test_a_winner_that_does_not_depend_on_the_trials_is_said_too(tmp_path):
    planted = Planted(batch_sizes=(256,), steps=400, noise=0.004, report_seeds=(7, 8, 9))
    planted.best_momentum.update(sgd=0.95, adam=0.95)
    store, plan = write_store(tmp_path, planted)
    comparison = compare_plan(store, plan)
    assert set(comparison.tuning_cost["winner"].dropna()) == {"adam"}
    assert "does not depend" in tuning_cost_sentences(comparison.tuning_cost)[0]


def test_width_of_the_learning_rate_range_is_that_of_the_planted_parabola(tmp_path):
    # loss = best + c log10(lr / best lr)^2 is within p% where |log10| <= sqrt(p/100 * best / c).
    lrs = tuple(float(x) for x in 10 ** np.linspace(-3, 1, 81))
    planted = Planted(
        batch_sizes=(24,), lrs={"sgd": lrs, "adam": lrs}, best_lr={"sgd": lrs[40], "adam": lrs[40]},
        momenta=(0.9,), best_momentum={"sgd": 0.9, "adam": 0.9}, noise=0.0, steps=700, diverges_above=1e9,
    )  # fmt: skip
    store, plan = write_store(tmp_path, planted)
    widths = compare_plan(store, plan).lr_widths.set_index("optimizer")
    expected = 2 * math.sqrt(0.02 * planted.level / planted.curvature)
    assert widths.loc["adam", "width"] == pytest.approx(expected, rel=0.02)
    assert widths.loc["adam", "open"] == ""
    assert widths.loc["adam", "low"] * widths.loc["adam", "high"] == pytest.approx(lrs[40] ** 2, rel=0.02)


def test_a_range_that_the_grid_cuts_is_a_lower_bound_and_divergence_ends_it():
    rows = [("sgd", 4, lr, loss) for lr, loss in ((0.01, 1.01), (0.1, 1.0), (1.0, math.inf))]
    rows += [("adam", 4, lr, loss) for lr, loss in ((0.01, 2.0), (0.1, 1.0), (1.0, 2.0))]
    table = lr_width_table(runs_table(rows))
    sgd, adam = table.iloc[0], table.iloc[1]
    assert (sgd["open"], sgd["width"]) == ("low", pytest.approx(1.0))  # the last finite one ends it above
    assert (adam["open"], adam["width"]) == ("", pytest.approx(0.04))
    said = "best loss is wider for SGD at 1 of 1 batch size (median 0.04 decades for Adam, 1.00 for SGD)."
    assert lr_width_sentences(table, [("adam", "sgd")])[0].endswith(said)
    wide = lr_width_table(runs_table([*rows[:3], *(("adam", 4, lr, 1.0) for lr in (0.001, 0.1))]))
    untold = wide.assign(width=[1.0, 2.0], open=["low", ""])
    (cut,) = lr_width_sentences(untold, [("adam", "sgd")])
    assert "is cut by the grid before it can be compared at 1 of 1 batch size (" in cut
    (equal,) = lr_width_sentences(wide.assign(width=1.0, open=""), [("adam", "sgd")])
    assert "is as wide for both at 1 of 1 batch size (" in equal
    assert lr_width_table(runs_table([("sgd", 4, 0.1, 1.0)])).empty


def test_reporting_seeds_alone_give_the_loss_of_the_chosen_setting():
    runs = runs_table(
        [
            ("sgd", 4, 0.1, 1.0, 1),
            ("sgd", 4, 0.3, 1.1, 1),
            ("sgd", 4, 0.1, 1.3, 7),
            ("sgd", 4, 0.1, 1.2, 8),
        ]
    )
    runs.loc[2:, "reporting"] = True
    point = tuned_points(runs).iloc[0]
    assert point["setting"] == (("lr", 0.1),) and point["apart"]
    assert point["loss"] == pytest.approx(1.25) and point["selection_loss"] == pytest.approx(1.0)
    assert point["run_ids"] == ("2", "3") and point["seed_losses"] == {7: 1.3, 8: 1.2}
    runs.loc[3, ["loss", "status"]] = [math.inf, "diverged"]
    assert math.isinf(tuned_points(runs).iloc[0]["loss"])


def test_nothing_is_taken_off_where_the_grid_tells_nothing():
    points = tuned_points(runs_table([("sgd", 4, 0.1, 2.0, 1), ("sgd", 4, 0.1, 2.2, 2), ("adam", 4, 0.1, math.inf)]))
    assert points[["excess", "luck", "surface_error"]].values.tolist() == [[0, 0, 0]] * 2
    assert points["loss"].tolist() == [pytest.approx(2.1), math.inf]
