"""Matrices with all singular values near 1, by Newton-Schulz iterations."""

from __future__ import annotations

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrices: Tensor, iterations: int, *, full_precision: bool = False) -> Tensor:
    """Matrices with the same singular vectors, and singular values near 1 (between about 0.7 and 1.2).

    Args:
        matrices: ``[rows, columns]`` or ``[R, rows, columns]``.
        iterations: number of iterations. Each maps a singular value s to ``a s + b s^3 + c s^5``; the coefficients
            (Jordan et al. 2024) have the largest slope at 0 that keeps the values bounded.
        full_precision: compute in the matrices' precision instead of bfloat16.

    Returns:
        The matrices, of the same shape, in bfloat16 or in their own precision; zero for a matrix of zeros.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices if full_precision else matrices.to(torch.bfloat16)
    x = x.mT if tall else x
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    add_product = torch.addmm if x.ndim == 2 else torch.baddbmm
    for _ in range(iterations):
        gram = x @ x.mT
        x = add_product(x, add_product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
