r"""Equal betas as inference: the mean and variance of gradients that are tracked with a penalty on moving them.

Paper 3, section 4: a Gaussian :math:`N(m_k, \sigma_k^2)` stands for what is known of a coordinate's gradient. When
:math:`g` comes, it becomes the Gaussian that minimises

.. math::
    -\log p(g \mid m, \sigma^2) + \frac{1}{\lambda} \mathrm{KL}\big(N(m_k, \sigma_k^2) \,\|\, N(m, \sigma^2)\big) .

With :math:`\beta = 1 / (1 + \lambda)` the minimum is at

.. math::
    m_{k+1} = \beta m_k + (1 - \beta) g, \qquad
    \sigma_{k+1}^2 = \beta \sigma_k^2 + \beta (1 - \beta) (m_k - g)^2,

and :math:`m^2 + \sigma^2` is then an average of squared gradients with the same decay: Adam with equal betas divides
the mean by the root of mean squared plus variance. With two betas :math:`v_k - m_k^2` is negative for some gradients,
so it is the variance of nothing: by Cauchy and Schwarz :math:`m^2 \le v` for all gradients if and only if
:math:`\sum_i (1 - \beta_1)^2 \beta_1^{2i} / ((1 - \beta_2) \beta_2^i) \le 1`, where the sum is
:math:`(1 - \beta_1)^2 \beta_2 / ((1 - \beta_2)(\beta_2 - \beta_1^2))`, or infinite, and at most 1 only where
:math:`(\beta_1 - \beta_2)^2 \le 0`. The gradients that tell are those of equality, :math:`g_k = (\beta_2 / \beta_1)^k`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def objective(
    mean: ArrayLike, variance: ArrayLike, gradient: float, *, old_mean: float, old_variance: float, beta: float
) -> Array:
    """What is minimised, in nats, for candidate means and variances that broadcast.

    Args:
        mean: m.
        variance: sigma squared, above 0.
        gradient: g.
        old_mean: mean so far.
        old_variance: variance so far, above 0.
        beta: ``1 / (1 + lambda)``, between 0 and 1.
    """
    mean, variance = np.asarray(mean, dtype=float), np.asarray(variance, dtype=float)
    surprise = 0.5 * np.log(2 * np.pi * variance) + (gradient - mean) ** 2 / (2 * variance)
    divergence = 0.5 * (np.log(variance / old_variance) + (old_variance + (old_mean - mean) ** 2) / variance - 1)
    moved: Array = surprise + beta / (1 - beta) * divergence
    return moved


def update(gradient: ArrayLike, mean: ArrayLike, variance: ArrayLike, beta: float) -> tuple[Array, Array]:
    """Mean and variance after a gradient: the minimum of `objective`.

    Args:
        gradient: g.
        mean: m_k.
        variance: sigma_k squared.
        beta: decay of both averages, between 0 and 1.
    """
    gradient, mean, variance = (np.asarray(value, dtype=float) for value in (gradient, mean, variance))
    surprise = (mean - gradient) ** 2
    return beta * mean + (1 - beta) * gradient, beta * variance + beta * (1 - beta) * surprise


def tracked(gradients: ArrayLike, beta: float) -> tuple[Array, Array]:
    """Mean and variance after each of ``gradients``, ``[steps, ...]``, from zero; both of that shape."""
    gradients = np.asarray(gradients, dtype=float)
    mean, variance = np.zeros(gradients.shape[1:]), np.zeros(gradients.shape[1:])
    means, variances = np.empty_like(gradients), np.empty_like(gradients)
    for step, gradient in enumerate(gradients):
        mean, variance = update(gradient, mean, variance, beta)
        means[step], variances[step] = mean, variance
    return means, variances


def telling_gradients(beta1: float, beta2: float, steps: int = 200) -> Array:
    """Gradients that grow by ``beta2 / beta1`` a step, the largest 1, ``[steps]``: they tell unequal betas from equal.

    Args:
        beta1: decay of the mean, above 0 and below 1.
        beta2: decay of the mean square, above 0 and below 1.
        steps: betas that are nearer to each other, or to 1, need more.
    """
    exponents = np.arange(steps) * np.log(beta2 / beta1)
    growing: Array = np.exp(exponents - exponents.max())
    return growing


def is_variance(gradients: ArrayLike, beta1: float, beta2: float) -> bool:
    """Whether Adam's second moment is at least its mean squared at every step of ``gradients``, ``[steps]``.

    It always is with equal betas. With others it is not for `telling_gradients`: Adam tracks no variance then.
    """
    mean = square = 0.0
    for gradient in np.asarray(gradients, dtype=float):
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        if square < mean**2 * (1 - 1e-12):
            return False
    return True
