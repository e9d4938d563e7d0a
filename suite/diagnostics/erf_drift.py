r"""Does sign descent progress as the diffusion limit predicts? (Compagnoni et al. 2025; paper 2, section 4.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def expected_sign(gradient: Tensor, noise: Tensor, batch_size: float) -> Tensor:
    r"""Mean sign of a noisy gradient, :math:`\mathrm{erf}(\sqrt{B/2}\; g / \sigma)` per coordinate.

    The same as `suite.theory.sde.expected_sign`, on a device.

    Args:
        gradient: true gradient.
        noise: standard deviation of one sample's gradient, shaped like it; 0 gives the sign itself.
        batch_size: ``B``.
    """
    is_noisy = noise > 0
    mean = torch.erf(math.sqrt(batch_size / 2) * gradient / torch.where(is_noisy, noise, 1.0))
    return torch.where(is_noisy, mean, gradient.sign())


def sign_progress(reference: Tensor, direction: Tensor) -> Tensor:
    r"""Loss that a unit step along a direction saves to first order, as a share of what the true sign would save.

    :math:`g^\top e / \lVert g \rVert_1`, 1 where every sign is known.

    Args:
        reference: gradient ``g``, independent of the direction's noise, ``[P]``.
        direction: ``e``, mean sign or a sign, ``[P]``.
    """
    return torch.dot(reference, direction) / reference.abs().sum()
