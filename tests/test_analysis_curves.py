"""Smoothing of loss curves against hand-made cases."""

import numpy as np
import pytest

from suite.analysis.curves import ema, mean_ema
from suite.records import final_losses


def test_the_smoothed_curve_ends_at_the_final_loss():
    losses = np.random.default_rng(0).normal(3, 1, 500)
    assert ema(losses)[-1] == pytest.approx(final_losses(losses.tolist())["ema"])


def test_mean_over_seeds_is_cut_to_the_shortest_and_skips_lost_curves():
    curves = {"a": np.full(4, 2.0), "b": np.full(3, 4.0), "c": None}
    assert mean_ema("abc", curves.get).tolist() == [3.0, 3.0, 3.0]
    assert mean_ema("c", curves.get) is None
