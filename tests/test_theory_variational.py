"""Equal betas as inference, and what averaging does to a signal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from suite.optim import build
from suite.theory.filters import agreement, filtered, momentum, noisy, signal
from suite.theory.variational import is_variance, objective, telling_gradients, tracked, update


@pytest.mark.parametrize("beta", [0.3, 0.9, 0.99])
@pytest.mark.parametrize(("gradient", "mean", "variance"), [(1.0, 0.2, 0.5), (-3.0, 0.2, 0.01), (0.2, 0.2, 2.0)])
def test_the_update_is_the_minimum(beta: float, gradient: float, mean: float, variance: float) -> None:
    def value(point: np.ndarray) -> float:
        known = {"old_mean": mean, "old_variance": variance, "beta": beta}
        return float(objective(point[0], np.exp(point[1]), gradient, **known))

    # A search that knows nothing of the closed form, over the mean and the logarithm of the variance.
    start = np.array([mean, np.log(variance)])
    found = minimize(value, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 10_000}).x
    new_mean, new_variance = update(gradient, mean, variance, beta)
    assert found[0] == pytest.approx(float(new_mean), rel=1e-4, abs=1e-5)
    assert np.exp(found[1]) == pytest.approx(float(new_variance), rel=1e-4)


def test_mean_squared_plus_variance_is_adams_second_moment() -> None:
    gradients = np.random.default_rng(0).normal(size=(200, 3))
    mean, variance = tracked(gradients, 0.9)
    square = np.zeros(3)
    for step, gradient in enumerate(gradients):
        square = 0.9 * square + 0.1 * gradient**2
        np.testing.assert_allclose(mean[step] ** 2 + variance[step], square, rtol=1e-9)


def test_the_filter_is_the_step_of_adam_with_equal_betas() -> None:
    gradients = noisy(60, seed=3)
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    spec = {"name": "adam", "lr": 1.0, "beta": 0.95, "eps": 0.0, "bias_correction": False}
    optimizer = build(spec, [("x", parameter)])
    for gradient, step in zip(gradients, filtered(gradients, 0.95)["adam"], strict=True):
        before = parameter.item()
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        assert before - parameter.item() == pytest.approx(step, rel=1e-9)


def test_only_equal_betas_track_a_variance_on_any_gradients() -> None:
    rng = np.random.default_rng(0)
    for beta in (0.5, 0.9, 0.99):
        assert all(is_variance(rng.normal(1, 0.1, size=100), beta, beta) for _ in range(20))
        assert is_variance([0.0, 5.0, 5.0, 0.0], beta, beta)
    pairs = [(0.5, 0.9), (0.9, 0.5), (0.9, 0.8), (0.95, 0.94), (0.94, 0.95), (0.9, 0.999), (0.999, 0.9)]
    assert not any(is_variance(telling_gradients(*pair), *pair) for pair in pairs)
    assert all(is_variance(telling_gradients(beta, beta), beta, beta) for beta in (0.1, 0.9, 0.999))
    assert not is_variance([0.0, 5.0, 5.0], 0.5, 0.9) and not is_variance([5.0] + [0.0] * 20, 0.9, 0.5)


def test_the_signal_and_its_filters_by_hand() -> None:
    assert signal(3) == pytest.approx([0, 1.8 * np.sin(0.03) * np.exp(-0.0025), 1.8 * np.sin(0.06) * np.exp(-0.005)])
    assert momentum([1.0, 0.0, -2.0], 0.5) == pytest.approx([0.5, 0.25, -0.875])
    by_rule = filtered([1.0, 0.0, -2.0], 0.5)
    assert by_rule["signum"].tolist() == [1, 1, -1]
    assert by_rule["ema_sign"] == pytest.approx([0.5, 0.25, -0.375])
    assert by_rule["adam"] == pytest.approx([0.5 / np.sqrt(0.5), 0.25 / 0.5, -0.875 / np.sqrt(2.125)])
    assert filtered([0.0, 0.0], 0.9)["adam"].tolist() == [0, 0]


def test_averaging_finds_the_signal_in_the_noise() -> None:
    # Independent of the rule: the more of the noise is averaged away, the nearer a step comes to the signal.
    found = [agreement(filtered(noisy(seed=seed), 0.95)["sgd"], signal()) for seed in range(5)]
    raw = [agreement(noisy(seed=seed), signal()) for seed in range(5)]
    assert min(found) > max(raw) + 0.1
    assert agreement(signal(), signal()) == pytest.approx(1) and agreement(np.zeros(3), np.ones(3)) == 0
