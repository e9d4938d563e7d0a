"""How fast do SGD and sign descent move, and how much do they jitter, at a batch size? Their diffusion limits.

With ``Sigma`` the covariance of one sample's gradient (diagonal here, ``noise`` its roots), Compagnoni et al. 2025 and
paper 2, section 4.3, give for SGD ``dX = -grad f dt + sqrt(lr Sigma / B) dW``: the batch size enters the jitter alone.
For sign descent ``dX = -e dt + sqrt(lr) sqrt(1 - e^2) dW`` with ``e = erf(sqrt(B / 2) Sigma^(-1/2) grad f)``: the batch
size enters the drift. One optimizer step takes the time ``lr``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf

from suite.theory.bounds import Array

Method = Literal["sgd", "signsgd"]
Gradient = Callable[[Array], Array]
"""Gradients ``[..., d]`` at points ``[..., d]``."""


def expected_sign(gradient: ArrayLike, noise: ArrayLike, batch_size: ArrayLike) -> Array:
    r"""Mean sign of a noisy gradient, :math:`\mathrm{erf}(\sqrt{B/2}\; g / \sigma)` per coordinate; Gaussian noise.

    Args:
        gradient: true gradient, any shape.
        noise: standard deviation of one sample's gradient, broadcasts; 0 gives the sign itself.
        batch_size: ``B``, broadcasts.
    """
    g, sigma, b = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (gradient, noise, batch_size)))
    mean = erf(np.sqrt(b / 2) * g / np.where(sigma > 0, sigma, 1.0))
    return np.where(sigma > 0, mean, np.sign(g))


def sgd_drift(gradient: ArrayLike) -> Array:
    """Drift of SGD, ``-g`` (paper 2, section 4.3): the batch size is not in it."""
    return -np.asarray(gradient, dtype=float)


def sgd_diffusion(noise: ArrayLike, lr: ArrayLike, batch_size: ArrayLike) -> Array:
    r"""Diffusion of SGD, :math:`\sqrt{\eta / B}\,\sigma` (paper 2, section 4.3)."""
    return np.sqrt(np.asarray(lr, dtype=float) / np.asarray(batch_size, dtype=float)) * np.asarray(noise, dtype=float)


def sign_drift(gradient: ArrayLike, noise: ArrayLike, batch_size: ArrayLike) -> Array:
    """Drift of sign descent: minus `expected_sign` (Compagnoni et al. 2025)."""
    return -expected_sign(gradient, noise, batch_size)


def sign_diffusion(gradient: ArrayLike, noise: ArrayLike, lr: ArrayLike, batch_size: ArrayLike) -> Array:
    r"""Diffusion of sign descent, :math:`\sqrt{\eta}\sqrt{1 - e^2}` with ``e`` the `expected_sign`."""
    mean = expected_sign(gradient, noise, batch_size)
    return np.sqrt(np.asarray(lr, dtype=float)) * np.sqrt(np.maximum(0.0, 1 - mean**2))


def simulate_sde(
    method: Method,
    gradient: Gradient,
    noise: ArrayLike,
    start: Array,
    lrs: ArrayLike,
    batch_size: float,
    rng: np.random.Generator,
    *,
    substeps: int = 1,
) -> Array:
    """Euler-Maruyama paths of a method's SDE.

    Args:
        method: ``sgd`` or ``signsgd``.
        gradient: the true gradient.
        noise: standard deviations of one sample's gradient, ``[d]`` or a number.
        start: ``[paths, d]``.
        lrs: learning rate of each step, ``[steps]``.
        batch_size: ``B``.
        rng: the source of noise.
        substeps: pieces that the time of one step is cut into.

    Returns:
        Points after every step, the start first: ``[steps + 1, paths, d]``.
    """
    points = np.array(start, dtype=float)
    path = [points.copy()]
    for lr in np.asarray(lrs, dtype=float):
        for _ in range(substeps):
            slope = gradient(points)
            if method == "sgd":
                drift, diffusion = sgd_drift(slope), sgd_diffusion(noise, lr, batch_size)
            else:
                drift = sign_drift(slope, noise, batch_size)
                diffusion = sign_diffusion(slope, noise, lr, batch_size)
            time = lr / substeps
            points = points + time * drift + np.sqrt(time) * diffusion * rng.standard_normal(points.shape)
        path.append(points)
    return np.stack(path)


def simulate_algorithm(
    method: Method,
    gradient: Gradient,
    noise: ArrayLike,
    start: Array,
    lrs: ArrayLike,
    batch_size: float,
    rng: np.random.Generator,
) -> Array:
    """Paths of the algorithm itself, gradients with Gaussian noise; arguments and result as `simulate_sde`."""
    points = np.array(start, dtype=float)
    path = [points.copy()]
    scale = np.asarray(noise, dtype=float) / np.sqrt(batch_size)
    for lr in np.asarray(lrs, dtype=float):
        seen = gradient(points) + scale * rng.standard_normal(points.shape)
        points = points - lr * (np.sign(seen) if method == "signsgd" else seen)
        path.append(points)
    return np.stack(path)


def sgd_progress(gradient: Array, hessian: Array, noise: ArrayLike, lr: float, batch_size: float) -> float:
    r"""Expected decrease of a quadratic in one step of SGD.

    .. math:: \eta \lVert g \rVert^2 - \tfrac{\eta^2}{2} (g^\top H g + \mathrm{tr}(H\Sigma) / B)

    Args:
        gradient: ``[d]``.
        hessian: ``[d, d]``.
        noise: standard deviations of one sample's gradient, ``[d]`` or a number.
        lr: learning rate.
        batch_size: ``B``.
    """
    spread = float(np.sum(np.diag(hessian) * np.broadcast_to(np.square(noise), gradient.shape)))
    curvature = float(gradient @ hessian @ gradient) + spread / batch_size
    return lr * float(gradient @ gradient) - lr**2 / 2 * curvature


def sign_progress(gradient: Array, hessian: Array, noise: ArrayLike, lr: float, batch_size: float) -> float:
    r"""Expected decrease of a quadratic in one step of sign descent, noise independent over coordinates.

    .. math:: \eta\, g^\top e - \tfrac{\eta^2}{2} \Big(e^\top H e + \sum_i H_{ii} (1 - e_i^2)\Big)

    with ``e`` the `expected_sign`: it grows with the batch size until every sign is known. Arguments as `sgd_progress`.
    """
    mean = expected_sign(gradient, noise, batch_size)
    curvature = float(mean @ hessian @ mean) + float(np.sum(np.diag(hessian) * (1 - mean**2)))
    return lr * float(gradient @ mean) - lr**2 / 2 * curvature
