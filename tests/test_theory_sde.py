"""Diffusion limits and the noisy quadratic against Monte Carlo, closed forms and enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from one_step import sgd_progress, sign_progress

from suite.theory.hessians import BLOCKS, block_hessian, design_rows
from suite.theory.noisy_quadratic import NoisyQuadratic, predict, sgd_losses, sign_losses, subset_share
from suite.theory.sde import expected_sign

SMALL = np.array([[2.0, 0.5], [0.5, 1.0]])
SIGMAS = 4.5
"""Standard errors that a Monte Carlo mean may be off: once in 100,000."""


def assert_mean(draws: np.ndarray, expected: float) -> None:
    error = draws.std(ddof=1) / np.sqrt(len(draws))
    assert abs(draws.mean() - expected) < SIGMAS * error, (draws.mean(), expected, error)


@pytest.mark.parametrize("batch_size", [1, 9, 64])
def test_mean_and_spread_of_a_noisy_sign(batch_size: int) -> None:
    rng = np.random.default_rng(batch_size)
    gradient, noise = -0.3, 1.7
    signs = np.sign(gradient + noise * rng.standard_normal((40_000, batch_size)).mean(axis=1))
    mean = float(expected_sign(gradient, noise, batch_size))
    assert_mean(signs, mean)
    assert_mean((signs - mean) ** 2, 1 - mean**2)


def test_limits_of_the_noisy_sign() -> None:
    assert expected_sign([2.0, -3.0, 0.0], 0.0, 1).tolist() == [1, -1, 0]
    assert expected_sign(0.5, 1.0, 1e6) == pytest.approx(1)
    # Much noise: sqrt(2 B / pi) g / sigma.
    assert expected_sign(1e-4, 1.0, 4) == pytest.approx(np.sqrt(8 / np.pi) * 1e-4, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_progress_of_one_step(batch_size: int) -> None:
    point, noise, lr = np.array([1.0, -0.5]), np.array([1.0, 3.0]), 0.1
    gradient = SMALL @ point
    draws = gradient + noise / np.sqrt(batch_size) * np.random.default_rng(2).standard_normal((100_000, 2))
    before = 0.5 * point @ SMALL @ point
    for progress, steps in ((sgd_progress, draws), (sign_progress, np.sign(draws))):
        after = point - lr * steps
        decreases = before - 0.5 * np.einsum("pi,ij,pj->p", after, SMALL, after)
        assert_mean(decreases, progress(gradient, SMALL, noise, lr, batch_size))


def test_only_sign_descents_early_progress_grows_with_the_batch_size() -> None:
    gradient, noise, lr = np.array([0.01, -0.02]), 5.0, 1e-8
    sgd = [sgd_progress(gradient, SMALL, noise, lr, size) for size in (1, 16, 256)]
    np.testing.assert_allclose(sgd, lr * gradient @ gradient, rtol=2e-3)
    sign = [sign_progress(gradient, SMALL, noise, lr, size) for size in (1, 16, 256)]
    # Far from saturation the erf is linear: four times the progress at 16 times the batch size.
    assert sign[1] / sign[0] == pytest.approx(4, rel=0.01) and sign[2] / sign[1] == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("layout", BLOCKS)
def test_hessians_have_the_papers_eigenvalues(layout: str) -> None:
    hessian = block_hessian(layout, seed=3)
    np.testing.assert_array_equal(hessian, hessian.T)
    for number, eigenvalues in enumerate(BLOCKS[layout]):
        block = hessian[3 * number : 3 * number + 3, 3 * number : 3 * number + 3]
        np.testing.assert_allclose(np.linalg.eigvalsh(block), eigenvalues, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), sorted(x for b in BLOCKS[layout] for x in b), rtol=1e-9)
    rows = design_rows(hessian)
    np.testing.assert_allclose(rows.T @ rows / 9, hessian, atol=1e-8)
    assert not np.allclose(hessian, block_hessian(layout, seed=4))


def test_layouts_are_named() -> None:
    with pytest.raises(ValueError, match="must be one of heterogeneous, homogeneous, got 'mixed'"):
        block_hessian("mixed")


@pytest.mark.parametrize("batch_size", [1, 3, 8, 9])
def test_spread_of_row_subsets_by_enumeration(batch_size: int) -> None:
    problem = NoisyQuadratic(hessian=block_hessian("heterogeneous"), noise="rows")
    point, rows = np.linspace(-1, 1, 9), design_rows(problem.hessian)
    samples = rows * (rows @ point)[:, None]
    means = np.array([samples[list(chosen)].mean(axis=0) for chosen in combinations(range(9), batch_size)])
    np.testing.assert_allclose(means.mean(axis=0), problem.hessian @ point, rtol=1e-9)
    np.testing.assert_allclose(problem.spread(point, batch_size), means.std(axis=0), rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="1 to 9 of them, got batch_size 10"):
        subset_share(10, 9)


@pytest.mark.parametrize(("noise", "batch_size"), [("gaussian", 4), ("rows", 1), ("rows", 3)])
def test_sgds_expected_loss_by_simulation(noise: str, batch_size: int) -> None:
    # Tame eigenvalues: where the fourth moment of the iterate is large, a sample mean says little.
    hessian = np.diag([1.0, 2.0, 4.0]) + 0.3
    problem = NoisyQuadratic(hessian=hessian, noise=noise, sigma=2.0)
    rng, lrs, paths = np.random.default_rng(5), 0.06 * np.linspace(1, 0, 30), 20_000
    rows, points = design_rows(hessian), np.ones((paths, 3))
    for lr in lrs:
        if noise == "gaussian":
            seen = points @ hessian + 2.0 / np.sqrt(batch_size) * rng.standard_normal(points.shape)
        else:
            chosen = rows[rng.permuted(np.tile(np.arange(3), (paths, 1)), axis=1)[:, :batch_size]]
            seen = np.einsum("pbi,pb->pi", chosen, np.einsum("pbi,pi->pb", chosen, points)) / batch_size
        points = points - lr * seen
    losses = problem.loss(points)
    expected = sgd_losses(problem, np.ones(3), np.multiply.outer(lrs, [1.0, 0.5]), batch_size)
    assert expected.shape == (31, 2)
    assert abs(losses.mean() - expected[-1, 0]) < SIGMAS * losses.std() / np.sqrt(paths) + 1e-12


def test_sign_descents_loss_by_simulation() -> None:
    problem = NoisyQuadratic(hessian=SMALL, sigma=1.0)
    lrs = 0.05 * np.linspace(1, 0, 60)
    means, errors = sign_losses(problem, np.ones(2), lrs[:, None], 4, np.random.default_rng(0), paths=4000)
    rng, points = np.random.default_rng(1), np.ones((4000, 2))
    for lr in lrs:
        points = points - lr * np.sign(points @ SMALL + 0.5 * rng.standard_normal(points.shape))
    losses = problem.loss(points)
    assert abs(losses.mean() - means[-1, 0]) < SIGMAS * np.hypot(errors[-1, 0], losses.std() / np.sqrt(4000))


def test_prediction_takes_the_best_learning_rate() -> None:
    problem = NoisyQuadratic(hessian=SMALL, sigma=1.0)
    multipliers, grid = np.linspace(1, 0, 50), np.array([1e-3, 0.1, 0.3, 5.0])
    found = predict(problem, 4, multipliers, sgd_lrs=grid, sign_lrs=grid)
    each = [float(sgd_losses(problem, np.ones(2), multipliers * lr, 4)[-1]) for lr in grid]
    assert found.sgd == pytest.approx(min(each)) and found.sgd_lr == grid[int(np.argmin(each))]
    assert found.steps == 50 and found.gap == found.signsgd - found.sgd and 0 < found.error < found.signsgd
