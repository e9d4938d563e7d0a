"""Which Hessians are heterogeneous over their blocks, and which hold the same eigenvalues homogeneously?

The quadratic of paper 2, appendix I (after Zhang et al. 2024): nine dimensions in three blocks, eigenvalues from 1 to
5000. A heterogeneous Hessian has similar eigenvalues inside a block and different ones in different blocks, as a
transformer's has; a homogeneous one has the whole range in every block, as a convolutional network's has.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from suite.theory.bounds import Array

Layout = Literal["heterogeneous", "homogeneous"]

BLOCKS: dict[str, tuple[tuple[float, ...], ...]] = {
    "heterogeneous": ((1, 2, 3), (99, 100, 101), (4998, 4999, 5000)),
    "homogeneous": ((1, 99, 4998), (2, 100, 4999), (3, 101, 5000)),
}
"""Eigenvalues of each block."""


def block_hessian(layout: str, seed: int = 0) -> Array:
    """Block-diagonal Hessian; the eigenvectors of each block are a random basis.

    As in the released code of paper 3, a basis is the eigenvectors of ``A A'`` with a Gaussian ``A`` of 3 by 6.

    Args:
        layout: ``heterogeneous`` or ``homogeneous``.
        seed: decides the bases.

    Returns:
        ``[9, 9]``, symmetric positive definite.

    Raises:
        ValueError: there is no such layout.
    """
    if layout not in BLOCKS:
        raise ValueError(f"A Hessian's layout must be one of {', '.join(BLOCKS)}, got {layout!r}.")
    rng = np.random.default_rng(seed)
    hessian = np.zeros((9, 9))
    for number, eigenvalues in enumerate(BLOCKS[layout]):
        gaussian = rng.standard_normal((3, 6))
        basis = np.linalg.eigh(gaussian @ gaussian.T)[1]
        block = slice(3 * number, 3 * number + 3)
        hessian[block, block] = basis * np.array(eigenvalues) @ basis.T
    return (hessian + hessian.T) / 2


def design_rows(hessian: Array) -> Array:
    """Rows ``a_i`` of a design matrix with ``H = mean of a_i a_i'``: those of the symmetric root, times ``sqrt(n)``.

    Args:
        hessian: ``[n, n]``, symmetric positive semidefinite.

    Returns:
        ``[n, n]``; sample ``i`` has the loss ``(a_i' w)^2 / 2``.
    """
    values, basis = np.linalg.eigh(hessian)
    root = basis * np.sqrt(np.maximum(values, 0)) @ basis.T
    return np.sqrt(len(hessian)) * root
