"""The Zipf bigram model's formulas against the algorithms themselves, limits and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from suite.theory.bigram import (
    gradient_descent_loss,
    scaling_exponent,
    sign_descent_loss,
    steps_needed,
    tuned_sign_descent,
)
from suite.theory.frequencies import zipf


def trained(method: str, steps: int, lr: float, vocab_size: int, exponent: float) -> float:
    """Relative error of a table of weights after some steps from zero, every word's followers permuted."""
    pi = zipf(vocab_size, exponent)
    rng = np.random.default_rng(0)
    targets = np.stack([rng.permutation(pi) for _ in pi])
    weights = np.zeros_like(targets)
    for _ in range(steps):
        gradient = pi[:, None] * (weights - targets)
        weights -= lr * (gradient if method == "gd" else np.sign(gradient))
    return float(np.sum(pi[:, None] * (weights - targets) ** 2) / np.sum(pi[:, None] * targets**2))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_frequencies(exponent: float) -> None:
    pi = zipf(50, exponent)
    assert pi.sum() == pytest.approx(1) and (np.diff(pi) <= 0).all()
    assert pi[0] / pi[9] == pytest.approx(10**exponent)


@pytest.mark.parametrize("exponent", [0.3, 1.0, 1.5])
@pytest.mark.parametrize("steps", [0, 1, 40])
def test_gradient_descent_is_the_algorithm(exponent: float, steps: int) -> None:
    lr = 1 / zipf(30, exponent)[0]
    expected = trained("gd", steps, lr, 30, exponent)
    assert gradient_descent_loss(steps, 30, exponent) == pytest.approx(expected, rel=1e-10, abs=1e-15)
    assert gradient_descent_loss(np.array([[steps]]), 30, exponent).shape == (1, 1)


@pytest.mark.parametrize("exponent", [0.3, 1.0, 1.5])
def test_sign_descent_is_the_algorithm(exponent: float) -> None:
    pi = zipf(30, exponent)
    # Before any weight has arrived the formula is exact.
    lr = pi[-1] / 50
    assert sign_descent_loss(40, lr, 30, exponent) == pytest.approx(trained("signsgd", 40, lr, 30, exponent), rel=1e-9)
    # Afterwards an arrived weight is up to lr away, where the formula says lr / 2.
    lr = float(np.median(pi)) / 40
    difference = abs(float(sign_descent_loss(40, lr, 30, exponent)) - trained("signsgd", 40, lr, 30, exponent))
    assert difference <= 0.75 * 30 * lr**2 / np.sum(pi**2)


def test_sign_descent_by_the_sum_itself() -> None:
    pi, lrs = zipf(200, 1.0), np.geomspace(1e-5, 0.1, 40)
    expected = [np.where(pi > 7 * lr, (pi - 7 * lr) ** 2, lr**2 / 4).sum() / np.sum(pi**2) for lr in lrs]
    np.testing.assert_allclose(sign_descent_loss(7, lrs, 200, 1.0), expected, rtol=1e-9)


@pytest.mark.parametrize(("vocab_size", "exponent", "steps"), [(100, 0.7, 5), (1000, 1.0, 30), (1000, 1.5, 3)])
def test_tuned_sign_descent_by_brute_force(vocab_size: int, exponent: float, steps: int) -> None:
    lrs = np.geomspace(1e-8, 1, 20_001)
    brute = sign_descent_loss(steps, lrs, vocab_size, exponent).min()
    loss, lr = tuned_sign_descent(steps, vocab_size, exponent)
    assert loss == pytest.approx(brute, rel=1e-4) and loss <= brute * (1 + 1e-9)
    assert sign_descent_loss(steps, lr, vocab_size, exponent) == pytest.approx(loss)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("method", ["gd", "signsgd"])
def test_steps_grow_with_the_vocabulary_as_predicted(method: str, exponent: float) -> None:
    target = 0.1
    small, large = (steps_needed(method, target, size, exponent) for size in (20_000, 200_000))
    # Logarithms and slowly vanishing terms remain at finite vocabularies.
    assert np.log10(large / small) == pytest.approx(scaling_exponent(method, exponent, target), abs=0.12)


def test_steps_needed_reach_the_target() -> None:
    steps = steps_needed("gd", 0.3, 500, 1.0)
    assert float(gradient_descent_loss(steps, 500, 1.0)) == pytest.approx(0.3, abs=1e-5)
    steps = steps_needed("signsgd", 0.3, 500, 1.0)
    assert tuned_sign_descent(steps, 500, 1.0)[0] == pytest.approx(0.3, abs=1e-4)
    with pytest.raises(ValueError, match="gd or signsgd"):
        steps_needed("adam", 0.3, 500, 1.0)
    with pytest.raises(ValueError, match="gd or signsgd"):
        scaling_exponent("adam", 1.0)
