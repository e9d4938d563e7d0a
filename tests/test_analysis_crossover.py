"""The crossover is where it was planted, and its absence is an answer with a direction."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_records import Planted, gap_rows, write_store

from suite.analysis.comparison import compare_plan
from suite.analysis.crossover import Line, crossover, trend
from suite.analysis.monotone import monotone_fit


def test_planted_crossing_is_recovered_from_records(tmp_path):
    planted = Planted(steps=900, noise=0.004, crossing=24, momentum_cost=0.02, report_seeds=(7, 8, 9))
    store, plan = write_store(tmp_path, planted)
    (found,) = compare_plan(store, plan).crossovers
    assert found.interpolated == pytest.approx(24, rel=0.1)
    assert found.line_zero == pytest.approx(24, rel=0.1)
    assert (found.low, found.high) == (16, 64)
    assert found.line_interval[0] < 24 < found.line_interval[1]
    said = found.sentence()
    assert said.startswith("The gap passes zero between batch sizes 16 and 64, near 24 (95% interval 2")
    assert said.endswith("SGD is better below, Adam above (at 95%, corrected for 5 batch sizes).")


def test_line_and_interpolation_agree_on_a_straight_gap():
    found = crossover(gap_rows([3.0, 1.0, -1.0, -3.0]))
    assert found.line.slope == pytest.approx(-1) and found.line.intercept == pytest.approx(3)
    assert found.line_zero == pytest.approx(8) and found.interpolated == pytest.approx(8)
    assert (found.low, found.high) == (4, 16) and found.claimed


def test_rising_gap_crosses_the_other_way():
    found = crossover(gap_rows([-3.0, -1.0, 1.0, 3.0]))
    assert (found.small_batch, found.winners[64]) == ("adam", "sgd")
    assert found.interpolated == pytest.approx(8)


def test_no_crossover_says_who_wins_everywhere_after_correction():
    found = crossover(gap_rows([3.0, 2.0, 1.0]))
    assert not found.claimed and found.interpolated is None and found.line_zero is None
    assert found.sentence() == (
        "No crossover in range: SGD is better at every batch size from 1 to 16 (at 95%, corrected for 3 batch sizes)."
    )
    # t = 2.3 with 20 degrees of freedom: better at 95% alone, at none of three after Holm's correction.
    weak = crossover(gap_rows([2.3, 2.3, 2.3], error=1.0))
    assert weak.winners == {} and weak.alone == (1, 4, 16)
    assert weak.sentence() == (
        "No crossover is claimed: SGD is better at batch sizes 1, 4, 16 (none of them after correction for 3 batch "
        "sizes)."
    )


def test_what_does_not_hold_after_correction_stands_beside_its_claim():
    some = crossover(gap_rows([0.1, -2.3, -9.0, -9.0], error=1.0))
    assert some.alone == (4,)
    assert some.sentence() == (
        "No crossover is claimed: the gap is open at batch size 1; Adam is better at batch sizes 4, 16, 64 (batch size "
        "4 not after correction for 4 batch sizes)."
    )
    one = crossover(gap_rows([2.3, 0.1], error=1.0))
    assert one.sentence() == (
        "No crossover is claimed: SGD is better at batch size 1 (not after correction for 2 batch sizes); the gap is "
        "open at batch size 4."
    )


def test_gaps_that_are_better_one_by_one_claim_no_crossover_before_correction():
    found = crossover(gap_rows([2.3, 0.1, -0.1, -2.3], error=1.0))
    assert found.alone == (1, 64) and not found.claimed and "No crossover is claimed" in found.sentence()


def test_undecided_gaps_widen_what_is_claimed():
    found = crossover(gap_rows([3.0, 0.3, -0.3, -3.0], error=0.5))
    assert (found.low, found.high) == (1, 64)
    open_ended = crossover(gap_rows([3.0, 1.5, 0.2, -0.2], error=0.4))
    assert not open_ended.claimed and open_ended.line_zero is None
    assert open_ended.sentence() == (
        "No crossover is claimed: SGD is better at batch sizes 1, 4; the gap is open at batch sizes 16, 64."
    )


def test_a_line_needs_three_batch_sizes_and_contradicts_no_gap():
    assert trend(gap_rows([3.0, -3.0])) is None
    assert crossover(gap_rows([3.0, -3.0])).interpolated == pytest.approx(2)
    # Convex: the line of these gaps is zero far from where they are.
    convex = gap_rows([8.0, 0.5, -0.5, -1.0])
    assert trend(convex) is None and crossover(convex).line_zero is None
    assert crossover(convex).interpolated == pytest.approx(8)
    # The fit is tolerable and on the wrong side of a verdict.
    assert trend(gap_rows([6.0, 0.5, -0.5, 0.8], error=1.5)) is not None
    sided = gap_rows([6.0, 0.5, -0.5, 0.8], error=1.5)
    sided.loc[2, "better"] = "sgd"
    line = trend(gap_rows([6.0, 0.5, -0.5, 0.8], error=1.5))
    assert (line(np.array([16.0]))[0] > 0) == (trend(sided) is not None)


def test_weights_count_in_the_line():
    rows = gap_rows([3.0, 1.0, -1.0, 0.0])
    rows["relative_error"] = [0.1, 0.1, 0.1, 10.0]
    assert trend(rows).slope == pytest.approx(-1, abs=0.01)


def test_the_interval_of_a_line_is_students_times_its_error():
    covariance = np.array([[0.04, -0.02], [-0.02, 0.09]])
    at_1_and_4 = np.sqrt([0.09, 0.04 * 4 - 2 * 0.02 * 2 + 0.09])
    for freedom, quantile in ((4.0, 2.7764451), (math.inf, 1.9599640)):
        line = Line(slope=1.0, intercept=0.0, covariance=covariance, freedom=freedom)
        assert line.half_width(np.array([1.0, 4.0]), 0.95) == pytest.approx(quantile * at_1_and_4, rel=1e-6)


@pytest.mark.parametrize(("bend", "believed"), [(0.9, True), (1.1, False)])
def test_a_line_is_not_believed_where_its_misfit_has_a_chance_below_5_percent(bend, believed):
    # Gaps of three batch sizes miss their line by +bend, -2 bend, +bend: squares 6 bend^2, one degree of freedom, so
    # that with errors of 1.25 F is 3.84 bend^2, whose chance is 5% at bend 1 (the normal quantile 1.96, squared).
    gaps = pd.DataFrame({
        "batch_size": [1, 2, 4], "relative_gap": [bend, -2 * bend, bend], "relative_error": [1.25] * 3,
        "freedom": [1e9] * 3, "better": [None] * 3, "challenger": ["sgd"] * 3,
    })  # fmt: skip
    assert (trend(gaps) is not None) == believed


def test_gap_that_ends_in_divergence_is_still_between_its_neighbours():
    found = crossover(gap_rows([3.0, 1.0, -math.inf]))
    assert (found.low, found.high) == (4, 16)
    assert found.interpolated is None  # nothing to interpolate to


def test_what_is_said_where_little_is_known():
    said = crossover(gap_rows([0.05, 0.02])).sentence()
    assert said == "No crossover is claimed: the two are level within 0.5% at batch sizes 1, 4."
    assert (
        crossover(gap_rows([1.0], error=1.0)).sentence() == "At batch size 1, the only one measured, the gap is open."
    )
    leaning = crossover(gap_rows([3.0, 0.5], error=0.3)).sentence()
    assert leaning.endswith("SGD is better at batch size 1; the gap leans to SGD at batch size 4.")
    mixed = crossover(gap_rows([-3.0, -3.0, 1.5, -3.0]))
    assert mixed.contrary and not mixed.claimed
    assert mixed.sentence().startswith("No single crossover: Adam is better at batch sizes 1, 4, 64; SGD is better at")


def test_one_seed_is_said():
    rows = gap_rows([3.0]).assign(seeds=1, verdict="open", together=False)
    rows["better"] = pd.Series([None], dtype=object)
    assert crossover(rows).sentence().endswith("the gap is open on one seed.")


def test_one_batch_size_and_none():
    assert "the only one measured" in crossover(gap_rows([1.0])).sentence()
    assert "No batch size has a result" in crossover(gap_rows([math.nan])).sentence()


def test_rows_of_several_tasks_are_refused():
    rows = gap_rows([1.0, -1.0])
    rows.loc[1, "task"] = "other/net"
    with pytest.raises(ValueError, match="one task"):
        crossover(rows)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
def test_monotone_fit_is_monotone_keeps_the_mean_and_leaves_monotone_data_alone(values):
    fitted = monotone_fit(np.array(values), falling=True)
    assert (np.diff(fitted) <= 1e-9).all()
    assert fitted.sum() == pytest.approx(sum(values), abs=1e-6)
    ordered = np.sort(values)
    assert monotone_fit(ordered, falling=False) == pytest.approx(ordered)


@given(st.lists(st.sampled_from([-math.inf, -3, -0.05, 0, 0.05, 3, math.inf, math.nan]), min_size=1, max_size=6))
def test_every_sequence_of_gaps_has_a_sentence_and_ordered_ends(gaps):
    found = crossover(gap_rows(gaps))
    assert found.sentence().endswith(".")
    if found.low is not None and found.high is not None:
        assert found.low < found.high
        for estimate in (found.interpolated, found.line_zero):
            assert estimate is None or found.low <= estimate <= found.high
