"""The crossover is where it was planted, and its absence is an answer with a direction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_records import Planted, gap_rows, write_store

from suite.analysis.comparison import compare_plan
from suite.analysis.crossover import crossover
from suite.analysis.monotone import monotone_fit


def test_planted_crossing_is_recovered_from_records(tmp_path):
    planted = Planted(steps=900, noise=0.004, crossing=24, momentum_cost=0.02)
    store, plan = write_store(tmp_path, planted)
    (found,) = compare_plan(store, plan).crossovers
    assert found.interpolated == pytest.approx(24, rel=0.1)
    assert found.line == pytest.approx(24, rel=0.1)
    assert (found.low, found.high) == (16, 64)
    assert (found.small_batch, found.large_batch) == ("sgd", "adam") and found.resolved
    assert "near batch size 24 (between 16 and 64)" in found.sentence()


def test_line_and_interpolation_agree_on_a_straight_gap():
    found = crossover(gap_rows([3.0, 1.0, -1.0, -3.0]))
    assert found.slope == pytest.approx(-1) and found.intercept == pytest.approx(3)
    assert found.line == pytest.approx(8) and found.interpolated == pytest.approx(8)
    assert (found.low, found.high) == (4, 16)


def test_rising_gap_crosses_the_other_way():
    found = crossover(gap_rows([-3.0, -1.0, 1.0, 3.0]))
    assert (found.small_batch, found.large_batch) == ("adam", "sgd")
    assert found.interpolated == pytest.approx(8)


def test_no_crossover_says_who_wins_everywhere():
    found = crossover(gap_rows([3.0, 2.0, 1.0]))
    assert not found.in_range and found.interpolated is None and found.resolved
    assert found.sentence() == "No crossover in range: SGD is better at every batch size from 1 to 16."
    assert found.line is None  # the line's zero lies at 64, two octaves outside


def test_line_root_is_given_up_to_one_octave_outside():
    assert crossover(gap_rows([3.0, 2.0, 1.0, 0.5])).line == pytest.approx(2 ** (2.9 / 0.425))


def test_unresolved_gaps_widen_the_interval():
    found = crossover(gap_rows([3.0, 0.5, -0.5, -3.0], uncertainty=1.0))
    assert (found.low, found.high) == (1, 64)
    open_ended = crossover(gap_rows([3.0, 1.5, 0.2, -0.2], uncertainty=1.0))
    assert (open_ended.low, open_ended.high) == (4, None) and not open_ended.resolved
    assert "No crossover is resolved: SGD is better up to batch size 4, and no gap above" in open_ended.sentence()
    other_end = crossover(gap_rows([0.2, -0.2, -1.5, -3.0], uncertainty=1.0)).sentence()
    assert "Adam is better from batch size 16 on, and no gap below it is resolved (best guess: zero near" in other_end


def test_gap_that_ends_in_divergence_still_has_an_interval():
    found = crossover(gap_rows([3.0, 1.0, -math.inf]))
    assert found.in_range and (found.low, found.high) == (4, 16)
    assert found.interpolated is None  # nothing to interpolate to


def test_unresolved_or_contradicting_gaps_name_no_winner_everywhere():
    assert crossover(gap_rows([0.05, 0.02])).sentence() == "The gap is not resolved at any batch size from 1 to 4."
    assert crossover(gap_rows([0.05])).sentence().endswith("the gap is not resolved.")
    assert crossover(gap_rows([3.0, 0.05])).sentence().endswith("from 1 to 4, 1 of 2 not resolved.")
    mixed = crossover(gap_rows([-3.0, -3.0, 0.5, -3.0]))
    assert mixed.contrary == 1 and mixed.sentence().startswith("No single crossover: Adam is better on the whole")


def test_one_batch_size_and_none():
    assert "the only one measured" in crossover(gap_rows([1.0])).sentence()
    assert "No batch size has a result" in crossover(gap_rows([math.nan])).sentence()


def test_noise_around_zero_is_counted():
    found = crossover(gap_rows([3.0, -0.2, 0.3, -3.0]))
    assert found.sign_changes == 3 and found.in_range
    assert (found.low, found.high) == (1, 64)


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
def test_every_sequence_of_gaps_has_a_sentence_and_an_ordered_interval(gaps):
    found = crossover(gap_rows(gaps))
    assert found.sentence().endswith(".")
    if found.low is not None and found.high is not None:
        assert found.low < found.high
        if found.interpolated is not None:
            assert found.low <= found.interpolated <= found.high
