"""The three-term model fitted to measured gaps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from suite.theory.gap_fit import fit_gap_model
from suite.theory.regimes import GapModel

SIZES = [1, 4, 16, 64, 256, 1024]
TRUTH = GapModel(0.05, 0.1, -0.001)


def test_exact_gaps_give_their_own_coefficients() -> None:
    fit = fit_gap_model(SIZES[::-1], TRUTH(SIZES[::-1]).tolist())
    assert (fit.model.c0, fit.model.c1, fit.model.c2) == pytest.approx((0.05, 0.1, -0.001))
    assert fit.batch_sizes == tuple(SIZES) and fit.spare == 3
    assert fit.r_squared == pytest.approx(1) and fit.rms_residual < 1e-12
    assert fit.crossover == pytest.approx(TRUTH.crossover())
    assert fit.interval == pytest.approx((fit.crossover, fit.crossover), rel=1e-6) and fit.share == 1
    assert (
        "explains 100.0%" in fit.sentence()
        and f"passes zero at batch size {TRUTH.crossover():.3g} (90%" in fit.sentence()
    )


def test_gaps_that_no_coefficients_of_the_right_sign_can_follow_are_called_worse_than_their_mean() -> None:
    fit = fit_gap_model(SIZES, [-1.01, -1.0, -1.01, -1.0, -1.01, -1.0])
    assert fit.r_squared < 0 and "is further from the 6 gaps than their mean is (root" in fit.sentence()
    assert "explains" not in fit.sentence() and fit.sentence().endswith("It has no crossover from batch size 1 up.")


@pytest.mark.parametrize("seed", range(12))
def test_the_fit_is_the_bounded_least_squares_solution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gaps, errors = rng.standard_normal(6), rng.uniform(0.1, 2, 6)
    b = np.array(SIZES, dtype=float)
    basis = np.stack([np.ones(6), b**-0.5, b], axis=1) / errors[:, None]
    # The solver's tolerance is absolute: it needs columns of like size.
    scale = np.linalg.norm(basis, axis=0)
    bounds = ([0, 0, -np.inf], [np.inf] * 3)
    expected = lsq_linear(basis / scale, gaps / errors, bounds=bounds, method="bvls", tol=1e-14).x / scale
    model = fit_gap_model(SIZES, gaps.tolist(), errors.tolist()).model
    np.testing.assert_allclose([model.c0, model.c1, model.c2], expected, rtol=1e-6, atol=1e-9)


def test_the_interval_holds_the_true_crossover_about_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(40):
        gaps = TRUTH(SIZES) + 0.01 * rng.standard_normal(6)
        fit = fit_gap_model(SIZES, gaps.tolist(), [0.01] * 6)
        assert fit.interval is not None and fit.share > 0.95
        held += fit.interval[0] <= TRUTH.crossover() <= fit.interval[1]
    # Binomial of 40 at 0.9: below 30 happens once in 500.
    assert held >= 30


def test_an_interval_from_few_residuals_holds_the_true_crossover_as_often_as_it_says() -> None:
    # Two degrees of freedom: Gaussian quantiles would make this a 76% interval.
    sizes, rng, trials, held = [1, 8, 64, 256, 1024], np.random.default_rng(1), 150, 0
    for _ in range(trials):
        fit = fit_gap_model(sizes, (TRUTH(sizes) + 0.002 * rng.standard_normal(5)).tolist())
        assert fit.interval is not None and not fit.weighted
        held += fit.interval[0] <= TRUTH.crossover() <= fit.interval[1]
        assert "Student's t with 2 degrees" in fit.sentence() or fit.spare != 2
    assert 0.85 <= held / trials <= 0.95


def test_the_sentence_says_where_the_interval_comes_from() -> None:
    gaps = (TRUTH(SIZES) + 0.002 * np.random.default_rng(0).standard_normal(6)).tolist()
    weighted, plain = fit_gap_model(SIZES, gaps, [0.002] * 6), fit_gap_model(SIZES, gaps)
    assert "of the weighted variance" in weighted.sentence() and "taken for standard errors" in weighted.sentence()
    assert "of the variance" in plain.sentence() and "Student's t with 3 degrees of freedom" in plain.sentence()


def test_gaps_without_a_crossover_say_so() -> None:
    fit = fit_gap_model(SIZES, GapModel(0.05, 0.1, 0.001)(SIZES).tolist())
    assert fit.crossover is None and fit.interval is None and fit.share == 0
    assert "no crossover" in fit.sentence()


def test_three_gaps_test_nothing() -> None:
    fit = fit_gap_model([1, 16, 256], TRUTH([1, 16, 256]).tolist())
    assert fit.spare == 0 and fit.interval is None and "no test" in fit.sentence()


def test_gaps_that_are_not_known_are_left_out() -> None:
    gaps = TRUTH(SIZES).tolist()
    gaps[2] = float("nan")
    fit = fit_gap_model(SIZES, gaps, [0.1] * 6)
    assert fit.batch_sizes == (1, 4, 64, 256, 1024) and fit.model.c2 == pytest.approx(-0.001)
    with pytest.raises(ValueError, match="three batch sizes or more, got 2"):
        fit_gap_model([1, 4, 16], [0.1, float("nan"), 0.2])
    with pytest.raises(ValueError, match="must be positive"):
        fit_gap_model([1, 4, 16], [0.1, 0.2, 0.3], [0.1, 0.0, 0.1])
