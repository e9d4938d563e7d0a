"""How often does a batch's gradient have the sign of the true one? The diffusion limit of sign descent.

With ``Sigma`` the covariance of one sample's gradient (diagonal here, ``noise`` its roots), Compagnoni et al. 2025 and
paper 2, section 4.3, give for SGD ``dX = -grad f dt + sqrt(lr Sigma / B) dW``: the batch size enters the jitter alone.
For sign descent ``dX = -e dt + sqrt(lr) sqrt(1 - e^2) dW`` with ``e = erf(sqrt(B / 2) Sigma^(-1/2) grad f)``: the batch
size enters the drift. One optimizer step takes the time ``lr``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf

from suite.theory.bounds import Array


def expected_sign(gradient: ArrayLike, noise: ArrayLike, batch_size: ArrayLike) -> Array:
    r"""Mean sign of a noisy gradient, :math:`\mathrm{erf}(\sqrt{B/2}\; g / \sigma)` per coordinate; Gaussian noise.

    Args:
        gradient: true gradient, any shape.
        noise: standard deviation of one sample's gradient, broadcasts; 0 gives the sign of ``gradient``.
        batch_size: ``B``, broadcasts.
    """
    g, sigma, b = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (gradient, noise, batch_size)))
    mean = erf(np.sqrt(b / 2) * g / np.where(sigma > 0, sigma, 1.0))
    return np.where(sigma > 0, mean, np.sign(g))
