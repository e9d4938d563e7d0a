"""Do two quantities rise together, and could chance alone have done it? Rank correlation with a permutation test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

EXACT_UP_TO = 8
"""Up to so many pairs every order is tried; beyond, `DRAWS` random ones."""

DRAWS = 20_000


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation and how surprising it is.

    Attributes:
        rho: Spearman's, from -1 to 1; NaN where one side does not vary or there are fewer than three pairs.
        pairs: how many there are.
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


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Spearman's rank correlation with a two-sided permutation test.

    Args:
        first: values; pairs with a NaN on either side are left out, infinities are ranked.
        second: as many.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    paired = ~(np.isnan(a) | np.isnan(b))
    a, b = rankdata(a[paired]), rankdata(b[paired])
    count = len(a)
    if count < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return RankCorrelation(math.nan, count, math.nan, math.nan)
    a, b = (a - a.mean()) / np.linalg.norm(a - a.mean()), (b - b.mean()) / np.linalg.norm(b - b.mean())
    rho = float(a @ b)
    drawn = np.abs(np.array([a @ b[order] for order in _orders(count)]))
    p = float(np.mean(drawn >= abs(rho) - 1e-12))
    return RankCorrelation(rho, count, p, float(np.mean(drawn >= drawn.max() - 1e-12)))


def within_groups(
    first: Sequence[float], second: Sequence[float], groups: Sequence[str], seed: int = 0
) -> RankCorrelation:
    """Mean rank correlation inside groups, tested by permutations inside each group.

    What differs between groups counts for nothing: the question is whether both rise together inside each.

    Args:
        first: values.
        second: as many.
        groups: to which each pair belongs; those with fewer than three pairs say nothing.
        seed: of the permutations.
    """
    a, b, names = np.asarray(first, dtype=float), np.asarray(second, dtype=float), np.asarray(groups)
    paired = ~(np.isnan(a) | np.isnan(b))
    ranked = []
    for name in dict.fromkeys(names[paired].tolist()):
        inside = paired & (names == name)
        x, y = rankdata(a[inside]), rankdata(b[inside])
        if len(x) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
            x, y = x - x.mean(), y - y.mean()
            ranked.append((x / np.linalg.norm(x), y / np.linalg.norm(y)))
    pairs = sum(len(x) for x, _ in ranked)
    if not ranked:
        return RankCorrelation(math.nan, pairs, math.nan, math.nan)
    rho = float(np.mean([x @ y for x, y in ranked]))
    rng = np.random.default_rng(seed)
    drawn = np.abs([np.mean([x @ rng.permutation(y) for x, y in ranked]) for _ in range(DRAWS // 4)])
    p = (1 + int(np.sum(drawn >= abs(rho) - 1e-12))) / (1 + len(drawn))
    smallest = 2 * math.prod(1 / math.factorial(len(x)) for x, _ in ranked)
    return RankCorrelation(rho, pairs, p, max(smallest, 1 / (1 + len(drawn))))


def _orders(count: int) -> Iterator[np.ndarray]:
    if count <= EXACT_UP_TO:
        yield from map(np.array, itertools.permutations(range(count)))
        return
    rng = np.random.default_rng(0)
    yield np.arange(count)
    for _ in range(DRAWS):
        yield rng.permutation(count)
