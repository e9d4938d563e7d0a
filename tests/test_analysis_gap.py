"""A planted gap is found again: tuned points, gap, uncertainty, edges, divergence, seeds, missing runs."""

import dataclasses
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_records import Planted, run_id_for, write_store

from suite.analysis.caveats import verdict_notes
from suite.analysis.comparison import compare_plan
from suite.analysis.gap import _margin, _percent_of, gap_table, on_edge, pair_optimizers
from suite.analysis.table import load_runs
from suite.analysis.terminal import WIDTH, format_answers, format_gap_table, text_table
from suite.analysis.tuned import tuned_points
from suite.analysis.words import UNKNOWN, format_setting, format_value, seeds_needed_text
from suite.records.tuning import setting_of

SMALL = Planted(steps=900, noise=0.004, momentum_cost=0.02, report_seeds=(7, 8, 9, 10))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    store, plan = write_store(tmp_path_factory.mktemp("store"), SMALL)
    return compare_plan(store, plan)


def runs_table(rows):
    """Runs from (optimizer, batch size, lr, loss) rows, with seed as an optional fifth."""
    table = []
    for number, (optimizer, size, lr, loss, *seed) in enumerate(rows):
        status = "missing" if math.isnan(loss) else "diverged" if math.isinf(loss) else "finished"
        table.append(
            {
                "task": "toy/net",
                "run_id": str(number),
                "optimizer": optimizer,
                "batch_size": size,
                "seed": seed[0] if seed else 42,
                "setting": setting_of({"lr": lr}),
                "status": status,
                "loss": loss,
                "steps": 1000,
                "round": 0,
                "reporting": False,
            }
        )
    return pd.DataFrame(table)


def test_planted_settings_and_gaps_are_recovered(planted):
    for point in planted.tuned.itertuples(index=False):
        setting = dict(point.setting)
        name = SMALL.momentum_name[point.optimizer]
        assert setting == {"lr": SMALL.best_lr[point.optimizer], name: SMALL.best_momentum[point.optimizer]}
        assert point.edges == () and point.untuned == () and not point.provisional
        assert (point.finished, point.diverged, point.missing) == (24, 4, 0)
    for row in planted.gaps.itertuples(index=False):
        assert row.gap == pytest.approx(SMALL.gap(row.batch_size), abs=0.005)
        assert row.gap == pytest.approx(row.reference_loss - row.challenger_loss, abs=1e-9)
        assert row.relative_gap == pytest.approx(100 * row.gap / row.reference_loss)
        at = planted.tuned[planted.tuned["batch_size"] == row.batch_size].set_index("optimizer")["mean_loss"]
        assert row.relative_measured == pytest.approx(100 * (at["adam"] - at["sgd"]) / at["adam"])
        assert row.better == ("sgd" if row.batch_size < SMALL.crossing else "adam") and row.together and row.seeds == 4


def test_slowdown_is_the_share_of_the_budget_that_the_better_one_needs(planted):
    assert planted.gaps["slowdown"].between(0.1, 0.95).all()
    # The wider the gap, the earlier the better optimizer passes the other's final loss.
    order = planted.gaps["gap"].abs().sort_values().index
    assert planted.gaps.loc[order, "slowdown"].is_monotonic_decreasing


def test_terminal_table_names_the_answer_and_fits(planted):
    text = format_gap_table(planted)
    assert max(map(len, text.splitlines())) <= WIDTH
    for words in (
        "passes zero between batch sizes 16 and 64, near 24",
        "5 verdicts, each at 95%",
        "lr 0.3, momentum 0.95",
        "Adam",
        "SGD",
        "seeds 7, 8, 9, 10, 42",
    ):
        assert words in " ".join(text.split())


def test_terminal_table_fits_however_much_there_is_to_say(tmp_path):
    lrs = {"sgd": (0.3, 1.0), "adam": (0.003, 0.01)}
    planted = Planted(batch_sizes=tuple(2**k for k in range(8)), lrs=lrs, steps=60, question="why " * 60)
    store, plan = write_store(tmp_path, planted)
    text = format_gap_table(compare_plan(store, plan))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "and 10 more" in " ".join(text.split())


def test_a_table_wider_than_the_terminal_wraps_its_widest_column_and_loses_no_word():
    setting = ", ".join(f"knob{i} {i / 10}" for i in range(14))
    head = ["batch size", "setting", "edge", "finished"]
    lines = text_table(head, [["4", setting, "lr largest", "12"]], left=(1, 2)).splitlines()
    assert max(map(len, lines)) <= WIDTH and len(lines) > 3
    assert lines[2].endswith("12") and set(setting.split()) <= set(" ".join(lines).split())


def test_best_value_at_an_end_of_the_grid_is_flagged(tmp_path):
    lrs = {"sgd": (0.03, 0.1, 0.3), "adam": (0.001, 0.003, 0.01)}
    store, plan = write_store(tmp_path, Planted(batch_sizes=(4,), lrs=lrs, steps=300))
    comparison = compare_plan(store, plan)
    edges = dict(zip(comparison.tuned["optimizer"], comparison.tuned["edges"], strict=True))
    assert edges == {"sgd": (("lr", "largest"),), "adam": ()}
    assert on_edge(comparison.gaps).tolist() == [True]  # one of the two is enough
    assert on_edge(comparison.gaps.assign(challenger_edges=[()], reference_edges=[()])).tolist() == [False]
    assert "SGD at 4 (lr largest)" in format_gap_table(comparison)


def test_a_diverged_value_beyond_the_best_is_tried_so_the_best_is_not_on_the_edge():
    points = tuned_points(runs_table([("sgd", 4, 0.1, 2.0), ("sgd", 4, 0.3, 1.0), ("sgd", 4, 1.0, math.inf)]))
    assert points["edges"][0] == () and points["loss"][0] == 1.0


def test_a_missing_value_beyond_the_best_is_not_tried():
    points = tuned_points(runs_table([("sgd", 4, 0.1, 2.0), ("sgd", 4, 0.3, 1.0), ("sgd", 4, 1.0, math.nan)]))
    assert points["edges"][0] == (("lr", "largest"),)
    assert points["provisional"][0] and points["missing"][0] == 1


def test_a_single_value_is_untuned_not_an_edge():
    points = tuned_points(runs_table([("sgd", 4, 0.1, 2.0)]))
    assert points["edges"][0] == () and points["untuned"][0] == ("lr",)


def test_tuned_point_is_chosen_on_the_mean_over_seeds():
    lucky = [("sgd", 4, 0.1, 1.0, 1), ("sgd", 4, 0.1, 3.0, 2)]
    steady = [("sgd", 4, 0.3, 1.5, 1), ("sgd", 4, 0.3, 1.7, 2)]
    unstable = [("sgd", 4, 1.0, 0.5, 1), ("sgd", 4, 1.0, math.inf, 2)]
    unfinished = [("sgd", 4, 0.03, 0.1, 1), ("sgd", 4, 0.03, math.nan, 2)]
    point = tuned_points(runs_table([*lucky, *steady, *unstable, *unfinished])).iloc[0]
    assert point["setting"] == (("lr", 0.3),)
    assert point["loss"] == pytest.approx(1.6) and point["seeds"] == 2
    assert point["spread"] == pytest.approx(np.std([1.5, 1.7], ddof=1))


def lr_grid(optimizer, size, best, seeds, bowl=(0.3, 0.0, 0.4)):
    """A grid of three learning rates whose losses by seed lie above ``best`` by as much each."""
    return [
        (optimizer, size, lr, value + above, seed)
        for lr, above in zip((0.1, 0.3, 1.0), bowl, strict=True)
        for seed, value in zip(seeds, best, strict=True)
    ]


def reporting(runs, seeds):
    runs["reporting"] = runs["seed"].isin(seeds)
    return runs[~runs["reporting"] | (runs["setting"] == (("lr", 0.3),))].reset_index(drop=True)


def test_tuned_loss_is_the_mean_over_reporting_seeds_less_the_excess_of_the_surface():
    rows = lr_grid("sgd", 4, [1.0, 1.2, 1.5, 1.7], [1, 2, 7, 8])
    point = tuned_points(reporting(runs_table(rows), [7, 8])).iloc[0]
    # A parabola through the logarithms of 1.4, 1.1 and 1.5 at steps of lr of 3 and 3.33 has its minimum a little below.
    coefficients = np.polyfit(np.log([0.1, 0.3, 1.0]), np.log([1.4, 1.1, 1.5]), 2)
    excess = 1.1 - math.exp(coefficients[2] - coefficients[1] ** 2 / (4 * coefficients[0]))
    assert point["mean_loss"] == pytest.approx(1.6) and point["apart"] and point["seeds"] == 2
    assert point["excess"] == pytest.approx(excess, rel=0.01) and excess > 5e-5
    assert point["loss"] == pytest.approx(1.6 - point["excess"])
    assert point["selection_loss"] == pytest.approx(1.1)
    of_seeds = np.std([1.5, 1.7], ddof=1) / math.sqrt(2)
    assert point["error"] == pytest.approx(math.hypot(of_seeds, point["surface_error"]))
    quantile = stats.t.ppf(0.975, point["freedom"])
    assert point["uncertainty"] == pytest.approx(quantile * point["error"])


def test_one_seed_has_its_own_loss_and_no_interval():
    point = tuned_points(runs_table(lr_grid("sgd", 4, [1.0], [1]))).iloc[0]
    assert point["loss"] == 1.0 and point["seeds"] == 1 and math.isnan(point["uncertainty"])


def test_luck_of_the_seeds_that_chose_is_taken_off_where_no_others_report():
    rows = [("sgd", 4, lr, loss, seed) for lr, loss in LUCKY.items() for seed in (1, 2)]
    point = tuned_points(runs_table([(*row[:3], row[3] + 0.02 * row[4], row[4]) for row in rows])).iloc[0]
    assert not point["apart"] and point["luck"] > 0.01
    assert point["loss"] == pytest.approx(point["mean_loss"] - point["excess"] + point["luck"])
    assert point["loss"] > point["mean_loss"]


LUCKY = {0.01: 1.4, 0.03162278: 1.1, 0.1: 0.9, 0.3162278: 1.1, 1.0: 1.4}
"""Losses of a parabola (1.4, 1.1, 1.0, 1.1, 1.4), but at its middle a tenth too low."""


def test_a_gap_is_of_differences_by_shared_seed():
    # Both optimizers move together from seed to seed by far more than they differ.
    by_seed = [0.0, 0.5, 1.0, 1.5]
    rows = lr_grid("adam", 4, [2.0 + x for x in (1, *by_seed)], [1, 5, 6, 7, 8])
    jitter = [0.0, 0.001, -0.001, 0.002]
    rows += lr_grid("sgd", 4, [1.9 + x + e for x, e in zip((1, *by_seed), (0, *jitter), strict=True)], [1, 5, 6, 7, 8])
    row = gap_table(reporting(runs_table(rows), [5, 6, 7, 8])).iloc[0]
    assert row["gap"] == pytest.approx(0.1, abs=0.002) and row["better"] == "sgd" and row["seeds"] == 4
    assert row["seed_spread"] == pytest.approx(np.std(jitter, ddof=1))
    # With other seeds each there is nothing to pair: each optimizer's own spread counts.
    apart = runs_table([(o, b, lr, loss, seed + 10 * (o == "sgd")) for o, b, lr, loss, seed in rows])
    row = gap_table(reporting(apart, [5, 6, 7, 8, 15, 16, 17, 18])).iloc[0]
    own = np.std(by_seed, ddof=1)
    assert row["verdict"] == "open" and row["better"] is None
    assert row["seed_spread"] == pytest.approx(math.sqrt(2) * own, rel=0.01) and row["error"] > 0.4


def test_two_seeds_on_either_side_give_an_error_though_none_is_shared():
    rows = [("adam", 4, 0.1, 2.0, 1), ("adam", 4, 0.1, 2.2, 2), ("sgd", 4, 0.1, 1.0, 3), ("sgd", 4, 0.1, 1.4, 4)]
    row = gap_table(runs_table(rows)).iloc[0]
    assert row["error"] == pytest.approx(math.hypot(0.1, 0.2)) and 1 <= row["freedom"] <= 2


def test_two_shared_seeds_are_compared_pair_by_pair():
    rows = [("adam", 4, 0.1, 2.0, 1), ("adam", 4, 0.1, 2.2, 2), ("sgd", 4, 0.1, 1.0, 1), ("sgd", 4, 0.1, 1.3, 2)]
    row = gap_table(runs_table(rows)).iloc[0]
    assert row["error"] == pytest.approx(0.05) and row["seed_spread"] == pytest.approx(0.05 * math.sqrt(2))


def test_spreads_at_other_batch_sizes_moderate_that_at_one():
    def rows(size, spread):
        return lr_grid("adam", size, [2.0] * 3, [1, 5, 6]) + lr_grid(
            "sgd", size, [1.9, 1.9 - spread, 1.9 + spread], [1, 5, 6]
        )

    alone = gap_table(reporting(runs_table(rows(4, 0.01)), [5, 6])).iloc[0]
    several = gap_table(reporting(runs_table(rows(4, 0.01) + rows(8, 0.01) + rows(16, 0.01)), [5, 6]))
    assert alone["seed_spread"] == pytest.approx(several["seed_spread"][0])
    assert several["freedom"][0] > 2 * alone["freedom"] and several["uncertainty"][0] < alone["uncertainty"] / 3
    assert (alone["verdict"], alone["leans"], alone["better"]) == ("leans", "sgd", None)
    assert several[["verdict", "leans", "better"]].values.tolist() == [["better", None, "sgd"]] * 3


def test_one_seed_is_never_better_and_the_command_for_a_second_is_said(tmp_path):
    rows = lr_grid("adam", 4, [2.0], [42]) + lr_grid("sgd", 4, [1.0], [42])
    row = gap_table(runs_table(rows)).iloc[0]
    assert (row["verdict"], row["better"], row["seeds"]) == ("open", None, 1) and math.isnan(row["p"])
    store, plan = write_store(tmp_path, Planted(batch_sizes=(4,), steps=300))
    text = " ".join(format_gap_table(compare_plan(store, plan)).split())
    assert "One seed, which decides nothing." in text and "open" in text and "SGD better" not in text
    assert "`report_seeds: [43, 44, 45]` in configs/sweeps/synthetic.yaml" in text
    assert "`python -m suite sweep configs/sweeps/synthetic.yaml` trains the tuned settings with them" in text


def test_seeds_that_would_decide_are_said_with_their_command(tmp_path):
    rows = lr_grid("adam", 4, [2.0, 2.05, 2.1, 2.0], [1, 5, 6, 7]) + lr_grid(
        "sgd", 4, [2.0, 1.98, 2.02, 2.03], [1, 5, 6, 7]
    )
    row = gap_table(reporting(runs_table(rows), [5, 6, 7])).iloc[0]
    assert row["verdict"] == "open" and 3 < row["seeds_needed"] < 100
    steep = {"curvature": 4.0, "momenta": (0.9,), "best_momentum": {"sgd": 0.9, "adam": 0.9}}
    planted = Planted(batch_sizes=(16,), steps=300, noise=0.3, report_seeds=(7, 8), **steep)
    store, plan = write_store(tmp_path, planted)
    comparison = compare_plan(store, plan)
    (row,) = comparison.gaps.to_dict("records")
    assert row["verdict"] in ("open", "leans") and row["seeds"] == 2
    for words in (format_answers(comparison), format_gap_table(comparison)):
        said = " ".join(words.split())
        assert (
            "1 of 1 gap is not decided; seeds that would decide one of the measured size with a chance of 90%" in said
        )
        assert "has 2" in said and "report_seeds: [7, 8, 43" in said


def test_gaps_that_no_seeds_would_decide_are_named_after_those_that_some_would(planted):
    def said(needed):
        gaps = planted.gaps.assign(verdict="open", better=None, seeds_needed=needed)
        (note,) = [note for note in verdict_notes(dataclasses.replace(planted, gaps=gaps)) if "not decided" in note]
        return note

    some = said([18.0, math.inf, math.inf, 7.0, math.inf])
    assert some.startswith(
        "5 of 5 gaps are not decided; seeds that would decide one of the measured size with a chance of 90%: SGD at 1 "
        "(18, has 4); SGD at 64 (7, has 4). To get more: `report_seeds: [7, 8, 9, 10, "
    )
    assert some.endswith(
        "No number of seeds up to 1000 would decide 3 of them, since they are small beside what is not known of the "
        "best settings (a finer grid or finalists would tell more): SGD at 4; SGD at 16; SGD at 256."
    )
    none = said(math.inf)
    assert none.startswith("5 of 5 gaps are not decided. No number of seeds up to 1000 would decide them, since")
    assert "report_seeds" not in none and "has 4" not in none
    last = said([2.0, 2.0, 2.0, 2.0, math.inf])
    assert "would decide 1 of them, since it is small" in last and last.endswith("would tell more): SGD at 256.")


def test_seeds_needed_are_shown_where_the_verdict_is_not_decided(planted):
    needed = {"seeds_needed": 25.0}
    shown = {
        kind: seeds_needed_text({"verdict": kind, **needed}) for kind in ("better", "level", "leans", "open", None)
    }
    assert shown == {"better": UNKNOWN, "level": UNKNOWN, "leans": "25", "open": "25", None: UNKNOWN}
    assert planted.gaps["verdict"].eq("better").all() and planted.gaps["seeds_needed"].notna().all()
    rows = [line.split() for line in format_gap_table(planted).splitlines() if " better " in line and "%" in line]
    assert len(rows) == 5 and {row[-1] for row in rows} == {"-"}


def test_a_margin_makes_two_level():
    rows = lr_grid("adam", 4, [2.0, 2.0, 2.001, 1.999], [1, 5, 6, 7])
    rows += lr_grid("sgd", 4, [2.0, 2.001, 2.0, 2.0], [1, 5, 6, 7])
    runs = reporting(runs_table(rows), [5, 6, 7])
    assert gap_table(runs)["verdict"][0] == "level" and gap_table(runs, margin=0.01)["verdict"][0] == "open"


def test_all_diverged_loses_and_two_diverged_do_not_compare():
    rows = [
        ("adam", 4, 0.1, 1.3),
        ("sgd", 4, 0.1, math.inf),
        ("adam", 8, 0.1, math.inf),
        ("sgd", 8, 0.1, math.inf),
        ("adam", 16, 0.1, math.nan),
        ("sgd", 16, 0.1, 1.0),
    ]
    gaps = gap_table(runs_table([(*row, seed) for row in rows for seed in (1, 2)]))
    assert list(gaps["gap"].map(math.isinf)) == [True, False, False]
    assert list(gaps["better"]) == ["adam", None, None] and list(gaps["verdict"]) == ["better", None, None]
    assert gaps["gap"][1:].isna().all()
    assert gaps["p"][0] == 0 and gaps["p"][1:].isna().all()


def test_pairs_of_optimizers():
    assert pair_optimizers(["sgd", "adam"]) == [("adam", "sgd")]
    assert pair_optimizers(["muon", "adam", "sgd"]) == [("adam", "sgd"), ("adam", "muon")]
    assert pair_optimizers(["sophia", "adam", "sgd"]) == [("adam", "sgd"), ("adam", "sophia")]
    assert pair_optimizers(["muon", "lion"]) == [("muon", "lion")]
    assert pair_optimizers(["muon", "adam", "sgd"], reference="sgd", challenger="muon") == [("sgd", "muon")]
    assert pair_optimizers(["ademamix", "sgd", "adamw"]) == [("adamw", "sgd"), ("adamw", "ademamix")]
    titles = {"plain": "Heavy ball"}
    assert pair_optimizers(["plain", "adam"], "heavy BALL", titles=titles) == [("plain", "adam")]
    assert pair_optimizers(["plain", "adam"], challenger="Plain", titles=titles) == [("adam", "plain")]
    assert pair_optimizers(["sgd"]) == [] and pair_optimizers([]) == []
    with pytest.raises(ValueError, match="Expected an optimizer of this sweep"):
        pair_optimizers(["sgd", "adam"], challenger="lion")


def test_missing_and_broken_runs_are_counted_and_named(tmp_path):
    planted = Planted(batch_sizes=(4,), steps=200)
    gone = run_id_for("sgd", 4, 0.03, 0.9)
    store, plan = write_store(tmp_path, planted, leave_out=(gone,))
    broken = run_id_for("adam", 4, 0.003, 0.99)
    (store.run_folder(broken) / "record.json").write_text("{")
    comparison = compare_plan(store, plan)
    assert comparison.tuned["missing"].tolist() == [1, 1]
    assert comparison.tuned["provisional"].all() and comparison.gaps["provisional"].all()
    assert any(broken in path for path, _ in store.problems)
    assert "2 of 48 runs have no result" in format_gap_table(comparison)


def test_a_gap_is_provisional_where_one_side_lacks_a_run(tmp_path):
    for optimizer, gone in (("sgd", run_id_for("sgd", 4, 0.03, 0.9)), ("adam", run_id_for("adam", 4, 0.003, 0.99))):
        store, plan = write_store(tmp_path / optimizer, Planted(batch_sizes=(4,), steps=200), leave_out=(gone,))
        comparison = compare_plan(store, plan)
        provisional = dict(zip(comparison.tuned["optimizer"], comparison.tuned["provisional"], strict=True))
        assert provisional == {"sgd": optimizer == "sgd", "adam": optimizer == "adam"}
        assert comparison.gaps["provisional"].tolist() == [True]
    store, plan = write_store(tmp_path / "whole", Planted(batch_sizes=(4,), steps=200))
    assert compare_plan(store, plan).gaps["provisional"].tolist() == [False]


def test_every_task_has_its_own_gaps_where_both_optimizers_are():
    runs = runs_table([("sgd", 4, 0.1, 2.0), ("adam", 4, 0.1, 3.0), ("sgd", 8, 0.1, 1.0)])
    later = runs_table([("sgd", 4, 0.1, 5.0), ("adam", 4, 0.1, 4.0)]).assign(task="toy/other", run_id=["8", "9"])
    without_adam = runs_table([("muon", 4, 0.1, 2.0), ("sgd", 4, 0.1, 1.5)]).assign(task="toy/third", run_id=["5", "6"])
    gaps = gap_table(pd.concat([runs, later, without_adam], ignore_index=True))
    assert gaps[["task", "batch_size", "reference", "gap"]].values.tolist() == [
        ["toy/net", 4, "adam", 1.0],
        ["toy/other", 4, "adam", -1.0],
        ["toy/third", 4, "muon", 0.5],
    ]


def test_a_margin_is_percent_of_the_references_loss():
    assert _margin(SimpleNamespace(reference={"loss": -2.0}), 0.5) == 0.01


def test_percent_are_of_a_loss_of_the_same_sign():
    assert _percent_of(0.5, 0.25) == 200 and _percent_of(-2.0, -1.0) == 50 and _percent_of(1.0, math.inf) == 100
    assert _percent_of(-1.0, -2.0) == 100
    nothing = ((1, -1), (0, 1), (1, 0), (0, math.inf))
    assert all(math.isnan(_percent_of(reference, challenger)) for reference, challenger in nothing)


def test_lost_curves_cost_the_slowdown_but_not_the_gap(tmp_path):
    store, plan = write_store(tmp_path, Planted(batch_sizes=(4,), steps=200))
    (store.run_folder(run_id_for("adam", 4, 0.003, 0.99)) / "curves.parquet").write_bytes(b"")
    gaps = compare_plan(store, plan).gaps
    assert math.isnan(gaps["slowdown"][0]) and math.isfinite(gaps["gap"][0])
    assert store.problems


def test_a_plan_asking_for_an_unknown_final_loss_is_refused(tmp_path):
    store, plan = write_store(tmp_path, Planted(batch_sizes=(4,), steps=100))
    with pytest.raises(ValueError, match="final_loss"):
        load_runs(store, {**plan, "final_loss": "median"})


def test_short_runs_are_named_because_the_average_remembers_the_start(tmp_path):
    store, plan = write_store(tmp_path, Planted(batch_sizes=(4,), steps=100))
    comparison = compare_plan(store, plan)
    assert comparison.short_runs["start_share"].tolist() == pytest.approx([0.99**99])
    assert "Short runs: at batch size 4" in format_gap_table(comparison)


def test_hostile_names_do_not_reach_the_terminal(tmp_path):
    store, plan = write_store(tmp_path, Planted(batch_sizes=(4,), steps=100, question="red \x1b[31m alert"))
    assert "\x1b" not in format_gap_table(compare_plan(store, plan))


def test_values_are_written_as_people_write_them():
    assert [format_value(x) for x in (1e-5, 0.0003, 0.999, 10.0, 3, (0.9, 0.95))] == [
        "1e-5",
        "0.0003",
        "0.999",
        "10",
        "3",
        "0.9, 0.95",
    ]
    assert format_setting(setting_of({"momentum": 0.9, "lr": 1})) == "lr 1, momentum 0.9"


def test_analysis_loads_neither_torch_nor_matplotlib():
    code = (
        "import sys, suite.analysis.comparison, suite.analysis.terminal;"
        "print([m for m in ('torch', 'lightning', 'matplotlib', 'tasks', 'models') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
