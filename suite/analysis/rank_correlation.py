"""Do two quantities rise together, and could chance alone have done it? Rank correlation with a permutation test."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

MOST_ORDERS = math.factorial(8)
"""Up to so many orders, every one is tried; of more orders, `DRAWS` random ones."""

DRAWS = 20_000


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation and its p-value.

    Attributes:
        rho: Spearman's, from -1 to 1; NaN where one side does not vary or there are fewer than three pairs.
        pairs: number of pairs that were ranked.
        p: share of orders of one side that correlate as strongly or more, in magnitude.
        smallest_p: the smallest ``p`` that so many pairs allow: above 0.05 no correlation can be told from chance.
    """

    rho: float
    pairs: int
    p: float
    smallest_p: float

    def sentence(self) -> str:
        """The result in words."""
        if math.isnan(self.rho):
            return f"not known ({self.pairs} pairs)"
        limit = (
            f"; no order of {self.pairs} pairs could be below {self.smallest_p:.2g}" if self.smallest_p > 0.05 else ""
        )
        return f"rank correlation {self.rho:+z.2f} over {self.pairs} pairs, p = {self.p:.2g}{limit}"


def rank_correlation(
    first: Sequence[float], second: Sequence[float], groups: Sequence[str] | None = None
) -> RankCorrelation:
    """Spearman's rank correlation with a two-sided permutation test; with groups, its mean inside them.

    Differences between groups are disregarded: the question is whether both rise together inside each group, and values
    are permuted only inside their group.

    Args:
        first: values; pairs with a NaN on either side are left out, infinities are ranked.
        second: as many values.
        groups: group of each pair; groups with fewer than three pairs are left out. By default all are one group.
    """
    a, b, names = np.array(first, dtype=float), np.array(second, dtype=float), np.array(groups or [""] * len(first))
    paired = ~(np.isnan(a) | np.isnan(b))
    ranked = []
    for name in dict.fromkeys(names[paired].tolist()):
        x, y = (rankdata(side[paired & (names == name)]) for side in (a, b))
        if len(x) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
            x, y = x - x.mean(), y - y.mean()
            ranked.append((x / np.linalg.norm(x), y / np.linalg.norm(y)))
    if not ranked:
        return RankCorrelation(math.nan, 0 if groups else int(paired.sum()), math.nan, math.nan)
    counts = [len(x) for x, _ in ranked]
    if math.prod(map(math.factorial, counts)) <= MOST_ORDERS:
        inside = [np.array(list(itertools.permutations(y))) @ x for x, y in ranked]
        sums = functools.reduce(np.add.outer, inside).ravel()
    else:
        rng = np.random.default_rng(0)
        sums = sum(np.vstack([y, rng.permuted(np.tile(y, (DRAWS, 1)), axis=1)]) @ x for x, y in ranked)
    drawn = sums / len(ranked)  # the first is that of the measured order
    p, smallest = (float(np.mean(abs(drawn) >= least - 1e-12)) for least in (abs(drawn[0]), abs(drawn).max()))
    return RankCorrelation(float(drawn[0]), sum(counts), p, smallest)
