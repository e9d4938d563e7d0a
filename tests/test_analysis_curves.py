"""Smoothing, noise and slowdown of loss curves against hand-made cases."""

import math

import numpy as np
import pytest

from suite.analysis.curves import ema, final_noise, mean_ema, slowdown
from suite.records import final_losses


def test_the_smoothed_curve_ends_at_the_final_loss():
    losses = np.random.default_rng(0).normal(3, 1, 500)
    assert ema(losses)[-1] == pytest.approx(final_losses(losses.tolist())["ema"])


def test_noise_is_what_a_repeated_run_would_show():
    rng = np.random.default_rng(0)
    repeats = rng.normal(3, 0.5, (300, 1200))
    finals = [ema(losses)[-1] for losses in repeats]
    bounds = [final_noise(losses) for losses in repeats]
    assert np.mean(bounds) == pytest.approx(np.std(finals), rel=0.15)
    means = [losses[-100:].mean() for losses in repeats]
    assert np.mean([final_noise(x, "mean_last_100") for x in repeats]) == pytest.approx(np.std(means), rel=0.15)


def test_noise_needs_two_steps():
    assert math.isnan(final_noise([1.0]))


def test_slowdown_counts_steps_from_one():
    better, other = np.array([4.0, 3.0, 2.0, 1.0]), np.array([4.0, 3.5, 3.2, 3.0])
    assert slowdown(better, other) == 0.5
    assert slowdown(other, other) == 1.0
    assert math.isnan(slowdown(other, better))


def test_mean_over_seeds_is_cut_to_the_shortest_and_skips_lost_curves():
    curves = {"a": np.full(4, 2.0), "b": np.full(3, 4.0), "c": None}
    assert mean_ema("abc", curves.get).tolist() == [3.0, 3.0, 3.0]
    assert mean_ema("c", curves.get) is None
