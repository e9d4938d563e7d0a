"""How do gradient descent and sign descent scale with the vocabulary of a Zipf language?

Setting of Kunstner & Bach 2025: a linear bigram model is trained with squared error. Word ``k`` has the frequency
``pi_k ~ k^(-alpha)``, ``k = 1 .. d``, and the frequencies of the words that follow any word are a permutation of these.
The relative loss is the excess over the smallest loss, divided by the excess at the start (zero weights).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from suite.theory.bounds import Array
from suite.theory.frequencies import zipf


def gradient_descent_loss(steps: ArrayLike, vocab_size: int, exponent: float) -> Array:
    r"""Relative loss after some steps of gradient descent with learning rate :math:`1 / \pi_1`.

    .. math:: r_d(t) = \sum_k \pi_k (1 - \pi_k / \pi_1)^{2t}

    Args:
        steps: ``t``, any shape.
        vocab_size: ``d``.
        exponent: ``alpha``.
    """
    pi = zipf(vocab_size, exponent)
    t = np.asarray(steps, dtype=float)
    return np.power(1 - pi / pi[0], 2 * t[..., None]) @ pi


def sign_descent_loss(steps: float, lr: ArrayLike, vocab_size: int, exponent: float) -> Array:
    r"""Relative loss after ``T`` steps of sign descent with a constant learning rate (their Proposition 4.2).

    Every weight moves by ``lr`` per step until it reaches its target, then swings around it at the distance ``lr / 2``:

    .. math:: \frac{\sum_{k \le k^*} (\pi_k - T\eta)^2 + (d - k^*) \eta^2 / 4}{\sum_k \pi_k^2},
        \qquad k^* = \#\{k : \pi_k > T\eta\}

    Args:
        steps: ``T``.
        lr: ``eta``, any shape.
        vocab_size: ``d``.
        exponent: ``alpha``.
    """
    rising, sums, squares = _cumulative(vocab_size, exponent)
    eta = np.asarray(lr, dtype=float)
    walked = steps * eta
    # The sum of (pi - walked)^2 over the k* largest frequencies comes from cumulative sums, without a pass over them.
    far = vocab_size - np.searchsorted(rising, walked, side="right")
    distances = np.maximum(squares[far] - 2 * walked * sums[far] + far * walked**2, 0)
    return (distances + (vocab_size - far) * eta**2 / 4) / squares[-1]


def tuned_sign_descent(steps: float, vocab_size: int, exponent: float) -> tuple[float, float]:
    """Smallest `sign_descent_loss` over the learning rate.

    Returns:
        The relative loss and the learning rate.
    """
    pi = zipf(vocab_size, exponent)
    # From pi_1 / T on every weight reaches its target, and a larger learning rate only widens the swing.
    grid = pi[0] / steps * np.geomspace(1e-6, 1, 400)
    losses = sign_descent_loss(steps, grid, vocab_size, exponent)
    best = int(np.argmin(losses))
    low, high = np.log(grid[max(0, best - 1)]), np.log(grid[min(len(grid) - 1, best + 1)])
    refined = minimize_scalar(
        lambda x: float(sign_descent_loss(steps, np.exp(x), vocab_size, exponent)), bounds=(low, high), method="bounded"
    )
    if refined.fun < losses[best]:
        return float(refined.fun), float(np.exp(refined.x))
    return float(losses[best]), float(grid[best])


def steps_needed(method: str, target: float, vocab_size: int, exponent: float) -> float:
    """Steps until the relative loss falls to ``target``: a real number from 1 up, by bisection of the formulas above.

    Args:
        method: ``gd`` or ``signsgd`` (tuned).
        target: between 0 and 1.
        vocab_size: ``d``.
        exponent: ``alpha``.

    Raises:
        ValueError: no such method, or the target is out of range.
    """
    if method not in ("gd", "signsgd") or not 0 < target < 1:
        raise ValueError(f"Expected gd or signsgd and a target between 0 and 1, got {method!r} and {target}.")

    def loss(steps: float) -> float:
        if method == "gd":
            return float(gradient_descent_loss(steps, vocab_size, exponent))
        return tuned_sign_descent(steps, vocab_size, exponent)[0]

    low = high = 1.0
    while loss(high) > target:
        low, high = high, 4 * high
    while high / low > 1 + 1e-6:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if loss(middle) > target else (low, middle)
    return high


def scaling_exponent(method: str, exponent: float, target: float = 0.5) -> float:
    r"""Exponent ``p`` such that the steps grow as ``d^p`` at large vocabulary sizes ``d`` (Kunstner & Bach 2025).

    Gradient descent: ``alpha`` below 1, ``1 - target`` at 1 (the target is the relative loss), 0 above. Sign descent: 0
    below 1/2, ``(1 - target) / 2`` at 1/2, 1/2 above.

    Args:
        method: ``gd`` or ``signsgd``.
        exponent: ``alpha``.
        target: relative loss to reach; it matters only at the boundary (``alpha`` of 1 or 1/2).

    Raises:
        ValueError: no such method.
    """
    if method not in ("gd", "signsgd"):
        raise ValueError(f"A method must be gd or signsgd, got {method!r}.")
    boundary, below, above = (1.0, exponent, 0.0) if method == "gd" else (0.5, 0.0, 0.5)
    if exponent == boundary:
        return boundary * (1 - target)
    return below if exponent < boundary else above


@lru_cache(maxsize=8)
def _cumulative(vocab_size: int, exponent: float) -> tuple[Array, Array, Array]:
    """Frequencies in ascending order; sums of the ``k`` largest and of their squares, ``k = 0 .. vocab_size``."""
    pi = zipf(vocab_size, exponent)
    return pi[::-1].copy(), np.concatenate(([0.0], np.cumsum(pi))), np.concatenate(([0.0], np.cumsum(pi**2)))
