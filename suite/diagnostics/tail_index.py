r"""How heavy is the tail of a sample of positive numbers?"""

from __future__ import annotations

import math

from torch import Tensor


def hill_tail_index(values: Tensor, share: float = 0.1) -> tuple[float, int]:
    r"""Hill's estimator of the index :math:`\alpha` in :math:`P(X > x) \sim x^{-\alpha}` (Hill 1975).

    .. math:: \hat\alpha = k \Big/ \sum_{i=1}^k \ln \frac{x_{(i)}}{x_{(k+1)}}

    over the ``k`` largest values. For an exact Pareto law :math:`\hat\alpha (k - 1) / k` is unbiased, which is what is
    returned, with a relative standard error of :math:`1 / \sqrt{k - 2}`. For other heavy tails it is biased towards
    what the body of the law looks like: a Student t of 3 degrees of freedom reads about 2.5 at a tenth of its values.
    Light tails have no index; a Gaussian's norm in many dimensions reads far above 10. Below 2 the variance is
    infinite.

    Args:
        values: positive, ``[n]``.
        share: share of the values, the largest, that count as the tail.

    Returns:
        The index (NaN with fewer than four values), and ``k``.
    """
    ordered = values.double().flatten().sort(descending=True).values
    k = min(max(3, round(share * len(ordered))), len(ordered) - 1)
    if k < 3 or not bool((ordered[k] > 0) & ordered.isfinite().all()):
        return math.nan, max(k, 0)
    total = float((ordered[:k] / ordered[k]).log().sum())
    return ((k - 1) / total if total > 0 else math.inf), k
