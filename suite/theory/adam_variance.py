"""What is Adam with tied betas? A mean and a variance of the gradient (paper 3, section 4)."""

from __future__ import annotations

import numpy as np

from suite.theory.bounds import Array


def variance_form(gradients: Array, beta: float) -> tuple[Array, Array]:
    r"""Running mean and variance of gradients, both started at zero.

    .. math::
        m_k = \beta m_{k-1} + (1 - \beta) g_k, \qquad s_k = \beta s_{k-1} + \beta (1 - \beta) (m_{k-1} - g_k)^2

    With tied betas :math:`s_k = v_k - m_k^2`: Adam's second moment is the variance beside the squared mean.

    Args:
        gradients: ``[steps, ...]``.
        beta: decay of both averages, from 0 to below 1.

    Returns:
        ``m`` and ``s`` after every step, ``[steps, ...]``.

    Raises:
        ValueError: beta is out of range.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be from 0 to below 1, got {beta}.")
    mean, variance = np.zeros_like(gradients[0], dtype=float), np.zeros_like(gradients[0], dtype=float)
    means, variances = [], []
    for gradient in gradients:
        variance = beta * variance + beta * (1 - beta) * (mean - gradient) ** 2
        mean = beta * mean + (1 - beta) * gradient
        means.append(mean)
        variances.append(variance)
    return np.stack(means), np.stack(variances)


def adam_direction(gradients: Array, beta: float) -> Array:
    r"""Adam's step divided by the learning rate, from mean and variance (paper 3, eq. 4; no eps, no bias correction).

    .. math:: d_k = m_k / \sqrt{m_k^2 + s_k} = \mathrm{sign}(m_k) / \sqrt{1 + s_k / m_k^2}

    The sign of the mean, damped where the gradient's noise outweighs it.

    Args:
        gradients: ``[steps, ...]``.
        beta: both betas.

    Returns:
        ``[steps, ...]``; 0 where all gradients so far were zero.
    """
    mean, variance = variance_form(gradients, beta)
    scale = np.sqrt(mean**2 + variance)
    return np.divide(mean, scale, out=np.zeros_like(mean), where=scale > 0)
