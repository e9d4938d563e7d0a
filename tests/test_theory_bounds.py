"""Bounds, regimes and spectra against numeric derivatives, brute-force roots and limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from suite.theory.bounds import (
    FIGURE_8,
    FIGURE_8_RATIOS,
    FIGURE_8_SMOOTHNESS,
    Method,
    Problem,
    bound_coefficients,
    largest_admissible_batch_size,
    optimal_batch_size,
    tuned_bound,
)
from suite.theory.regimes import GapModel, approximate_crossover, gap_model, regime, relative_gap
from suite.theory.spectra import LIMIT_EXPONENT, smoothness_ratio, threshold_exponent

METHOD = Method(smoothness=3.0, rho=2.0, noise=0.7, suboptimality=5.0, budget=1e9)


def figure_8(ratio: float, smoothness: float = 1.0, **changes: float) -> Problem:
    return Problem(**{**FIGURE_8, **changes}, smoothness_2=smoothness, smoothness_inf=ratio * smoothness)


PROBLEMS = [figure_8(r, s) for s in FIGURE_8_SMOOTHNESS for group in FIGURE_8_RATIOS.values() for r in group]


def step_bound(method: Method, batch_size: float, alpha: float, eta: float) -> float:
    """The bound before tuning (paper 1, eq. 3, constants dropped), at a momentum weight and a length of a step."""
    noise, budget = method.rho * method.noise, method.budget
    start = method.suboptimality * batch_size / (eta * budget) + noise * batch_size**0.5 / (alpha * budget)
    return start + noise * (alpha / batch_size) ** 0.5 + method.smoothness * eta * (1 + 1 / alpha)


def tuned_values(method: Method, batch_size: float) -> tuple[float, float]:
    """Its minimisers at a large budget: momentum weight and length of a step."""
    noise, alpha = method.rho * method.noise, batch_size / largest_admissible_batch_size(method)
    scale = method.smoothness**0.25 * method.budget**0.75 * noise**0.5
    return alpha, method.suboptimality**0.75 * batch_size / scale


@pytest.mark.parametrize("batch_size", [1, 7, 100, 5000])
def test_the_tuned_bound_is_the_step_bound_at_tuned_values(batch_size: int) -> None:
    constant, falling, rising = bound_coefficients(METHOD)
    at = step_bound(METHOD, batch_size, *tuned_values(METHOD, batch_size))
    # Three of the five terms are equal there; dropping constants leaves one of them.
    assert at == pytest.approx(3 * constant + falling / batch_size**0.5 + rising * batch_size, rel=1e-12)
    assert tuned_bound(METHOD, batch_size) == pytest.approx(constant + falling / batch_size**0.5 + rising * batch_size)


@pytest.mark.parametrize("batch_size", [1, 16, 256])
def test_tuned_values_nearly_minimise_the_step_bound(batch_size: int) -> None:
    assert batch_size < 0.2 * largest_admissible_batch_size(METHOD)

    def bound(logs: np.ndarray) -> float:
        return float(np.log(step_bound(METHOD, batch_size, *np.exp(logs))))

    start = np.log(tuned_values(METHOD, batch_size))
    best = minimize(bound, start + 1.0, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).fun
    assert best <= bound(start) <= best + np.log(1.1)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_gap_is_the_difference_of_the_bounds(problem: Problem) -> None:
    sizes = np.geomspace(1, 65_536, 50)
    d, t, s, e = problem.dimension, problem.budget, problem.noise, problem.suboptimality
    l2, li = problem.smoothness_2, problem.smoothness_inf
    model = gap_model(problem)
    assert model.c0 == pytest.approx((s**2 * e / t) ** 0.25 * ((d * li) ** 0.25 - l2**0.25))
    assert model.c1 == pytest.approx(s**2 / np.sqrt(e * t) * (d / np.sqrt(li) - 1 / np.sqrt(l2)))
    expected = e**0.75 / (s**0.5 * t**0.75) * (li**0.75 * d**-0.25 - l2**0.75)
    assert model.c2 == pytest.approx(expected, abs=1e-10 * e**0.75 / (s**0.5 * t**0.75) * l2**0.75)
    bounds = tuned_bound(problem.sign_sgd, sizes), tuned_bound(problem.normalised_sgd, sizes)
    np.testing.assert_allclose(model(sizes), bounds[0] - bounds[1], rtol=1e-9, atol=1e-9 * bounds[1].max())
    np.testing.assert_allclose(relative_gap(problem, sizes), (bounds[0] - bounds[1]) / (bounds[0] + bounds[1]))
    step = 1e-3 * sizes
    numeric = (model(sizes + step) - model(sizes - step)) / (2 * step)
    np.testing.assert_allclose(model.derivative(sizes), numeric, rtol=1e-4, atol=1e-7 * np.abs(numeric).max())


@pytest.mark.parametrize("problem", PROBLEMS)
def test_regimes_and_crossovers(problem: Problem) -> None:
    model, sizes = gap_model(problem), np.geomspace(1, 1e9, 4000)
    gaps = model(sizes)
    if problem.ratio < problem.dimension ** (1 / 3) * (1 - 1e-9):
        assert regime(problem) == "I" and model.smallest_at is None
        assert (np.diff(gaps) < 0).all() and gaps[-1] < 0
        assert (model.crossover() is None) == (gaps[0] <= 0)
        if gaps[0] > 0:
            expected = brentq(lambda x: float(model(np.exp(x))), 0, np.log(1e9))
            assert model.crossover() == pytest.approx(np.exp(expected), rel=1e-8)
        approximate = approximate_crossover(problem)
        assert approximate is not None and approximate < model.crossovers()[0]
    else:
        assert regime(problem) == "II" and (gaps > 0).all() and model.crossovers() == ()
        assert approximate_crossover(problem) is None
        if model.smallest_at is not None:
            around = model(model.smallest_at * np.geomspace(0.1, 10, 2001))
            assert model(model.smallest_at) == pytest.approx(around.min(), rel=1e-6)


def test_equal_smoothness_crosses_at_the_fourth_root_of_the_dimension() -> None:
    for dimension in (10, 1000, 10**6):
        problem = figure_8(1, dimension=dimension)
        scale = largest_admissible_batch_size(problem.normalised_sgd)
        assert approximate_crossover(problem) == pytest.approx(scale * dimension**0.25)
    # Without noise in the small-batch term the approximation is exact.
    near = figure_8(1, budget=1e16)
    assert gap_model(near).crossover() == pytest.approx(approximate_crossover(near), rel=1e-3)


@pytest.mark.parametrize(
    ("coefficients", "crossovers", "falling"),
    [
        ((1.0, 0.0, -0.1), (10.0,), 10.0),
        ((-1.0, 2.0, 0.0), (4.0,), 4.0),
        ((-1.0, 0.0, 0.1), (10.0,), None),
        ((0.0, 1.0, -1 / 8), (4.0,), 4.0),
        # z^3 - 7 z + 6 = (z - 1)(z - 2)(z + 3): falling first, then rising.
        ((-7.0, 6.0, 1.0), (1.0, 4.0), 1.0),
        ((1e-12, 0.0, -1e-18), (1e6,), 1e6),
        ((1.0, 1.0, 1.0), (), None),
        ((0.0, 0.0, 0.0), (), None),
    ],
)
def test_crossovers_of_any_coefficients(
    coefficients: tuple[float, float, float], crossovers: tuple[float, ...], falling: float | None
) -> None:
    model = GapModel(*coefficients)
    assert model.crossovers() == pytest.approx(crossovers)
    assert model.crossover() == (None if falling is None else pytest.approx(falling))


def test_known_crossovers_of_power_law_spectra() -> None:
    # Figure 8's first panel with r(1000, p).
    for exponent, ratio, expected in ((1.0, 7.485, 134.5), (1.5, 2.549, 30.1), (2.0, 1.644, 22.9)):
        assert smoothness_ratio(1000, exponent) == pytest.approx(ratio, abs=5e-4)
        found = gap_model(figure_8(smoothness_ratio(1000, exponent))).crossover()
        assert found == pytest.approx(expected, abs=0.05)
    for exponent in (0.2, 0.5, 0.8):
        assert gap_model(figure_8(smoothness_ratio(1000, exponent))).crossover() is None


@pytest.mark.parametrize(("dimension", "expected"), [(100, 1.056), (1000, 0.914), (10_000, 0.840), (10**6, 0.771)])
def test_thresholds_of_the_spectrum(dimension: int, expected: float) -> None:
    found = threshold_exponent(dimension)
    assert found == pytest.approx(expected, abs=5e-4) and found > LIMIT_EXPONENT
    for exponent, answer in ((found - 1e-3, "II"), (found + 1e-3, "I")):
        assert regime(figure_8(smoothness_ratio(dimension, exponent), dimension=dimension)) == answer


def test_impossible_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="smoothness_inf must be 1 to dimension times"):
        figure_8(0.5)
    with pytest.raises(ValueError, match="noise must be a positive number, got 0"):
        figure_8(1, noise=0.0)
    with pytest.raises(ValueError, match="dimension must be at least 2"):
        threshold_exponent(1)


@pytest.mark.parametrize("budget", [1e6, 1e9])
@pytest.mark.parametrize("noise", [0.7, 20.0])
def test_the_optimal_batch_size_is_where_the_bound_is_least(budget: float, noise: float) -> None:
    method = Method(smoothness=3.0, rho=2.0, noise=noise, suboptimality=5.0, budget=budget)
    sizes = np.geomspace(1e-4, 1e5, 200_001)
    assert optimal_batch_size(method) == pytest.approx(sizes[tuned_bound(method, sizes).argmin()], rel=2e-4)
    closed = 2 ** (-2 / 3) * (2 * noise) ** (5 / 3) * budget ** (1 / 6) / 15 ** (5 / 6)
    assert optimal_batch_size(method) == pytest.approx(closed)
