"""Expected decrease of a quadratic in one step, in closed form, to hold simulations and trained steps against."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from suite.theory.bounds import Array
from suite.theory.sde import expected_sign


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
