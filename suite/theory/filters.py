r"""What averaging does to a noisy signal: the momentum of a signal, the sign of its momentum, the average of its signs.

Paper 3's demonstration with the signal :math:`1.8 \sin(0.03 k) \exp(-0.0025 k)`. The sign of the momentum (Signum)
keeps the direction of a weak signal and loses its size, the average of signs keeps a size that depends on the noise,
and Adam with equal betas divides the momentum by its own root mean square: between the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from suite.theory.variational import tracked

Array = NDArray[np.float64]

STEPS = 1000
"""Steps of the demonstration, enough for the signal to fade to a twelfth."""


def signal(steps: int = STEPS) -> Array:
    """The demonstration's signal, ``[steps]``."""
    k = np.arange(steps)
    value: Array = 1.8 * np.sin(0.03 * k) * np.exp(-0.0025 * k)
    return value


def noisy(steps: int = STEPS, *, sigma: float = 1.0, seed: int = 0) -> Array:
    """The signal with Gaussian noise of standard deviation ``sigma``, ``[steps]``."""
    return signal(steps) + sigma * np.random.default_rng(seed).standard_normal(steps)


def momentum(gradients: ArrayLike, beta: float) -> Array:
    """Moving average from zero, of the shape of ``gradients``, ``[steps, ...]``."""
    return tracked(gradients, beta)[0]


def filtered(gradients: ArrayLike, beta: float) -> dict[str, Array]:
    """What four optimizers step along after each gradient, without their learning rates.

    Args:
        gradients: ``[steps, ...]``.
        beta: decay of every average, between 0 and 1.

    Returns:
        By optimizer, each of the shape of ``gradients``: ``sgd`` the momentum, ``signum`` its sign, ``ema_sign`` the
        average of the signs, ``adam`` the momentum over the root of the second moment, both with decay ``beta``.
    """
    gradients = np.asarray(gradients, dtype=float)
    mean, variance = tracked(gradients, beta)
    root = np.sqrt(mean**2 + variance)
    return {
        "sgd": mean,
        "signum": np.sign(mean),
        "ema_sign": momentum(np.sign(gradients), beta),
        "adam": np.divide(mean, root, out=np.zeros_like(mean), where=root > 0),
    }


def agreement(steps: Array, direction: Array) -> float:
    """Cosine between steps and a direction, both ``[steps]``: how much of the path goes where the signal points."""
    lengths = float(np.linalg.norm(steps) * np.linalg.norm(direction))
    return float(steps @ direction) / lengths if lengths > 0 else 0.0
