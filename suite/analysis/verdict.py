"""The verdict over a gap, at 95%: the rules, fixed by simulation before any run is looked at.

**What is compared.** The final losses of two tuned settings over reporting seeds that the optimizers share: equal seed,
equal batches, equal initial weights. Where they share at least two seeds, the differences by seed are the data; where
they do not, each optimizer's own losses.

**Spread.** A handful of seeds tell a spread badly: with two of them Student's t at 95% is 12.7 standard errors. So the
variance at one batch size is moderated by those of the same optimizers at the other batch sizes of the sweep (Smyth
2004): their mean enters with the weight of `PRIOR_FREEDOM` degrees of freedom, or of fewer where they have few. Over
tasks that were measured with ten seeds each, spreads over batch sizes vary by 0.33 (standard deviation of their
logarithm); five degrees of freedom allow for 0.35. A batch size whose variance stands out beyond that, as where a tuned
setting is unstable, lends nothing and is lent nothing (`standing_out`).

**Interval.** The mean difference, less what the grid's coarseness and the choice among noisy settings cost either
optimizer (`suite.analysis.surface`), with Student's t; degrees of freedom of the sum by Satterthwaite (1946).

**Words.** X is *better* when the interval excludes zero and the other's tuned point lies on no edge of its grid.
The two are *level* when the whole interval lies within a margin stated beforehand. Else the gap *leans* to X when the
interval at `LEANING` excludes zero, and is *open* when it does not. One seed decides nothing: open.

**Several batch sizes.** Each verdict holds at 95% alone. What is said of several batch sizes together ("at every batch
size", a crossover) rests on verdicts that hold after correction for their number (Holm 1979).

`benchmarks/verdicts.py` holds these rules against data made with a known gap.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import fdtri, nctdtr, stdtr, stdtrit

LEVEL = 0.95
"""Two-sided confidence of *better* and *level*."""

LEANING = 0.8
"""Two-sided confidence of *leans*."""

POWER = 0.9
"""Chance to decide that `seeds_for_power` asks for."""

PRIOR_FREEDOM = 5.0
"""Degrees of freedom with which the spreads at other batch sizes moderate that at one."""

UNLIKE = 4.0
"""Ratio of a variance to the mean at other batch sizes that is ordinary: two standard deviations (2 x 0.66) of its
logarithm, which is twice the spread's."""

STRANGE = 0.01
"""Chance at which a variance that is larger still stands out."""

SURFACE_FREEDOM = 10.0
"""Degrees of freedom that what the settings' choice costs has at most: a surface is no exact model."""

MOST_SEEDS = 1000

_FAR = 30.0
"""Standard errors beyond which a chance is as good as one (0.98 with one degree of freedom). From 35 on the noncentral
t may have no value in double precision."""

Kind = Literal["better", "level", "leans", "open"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference with its uncertainty.

    Attributes:
        estimate: reference's tuned loss less the challenger's, in the unit of the loss; positive: challenger better.
        error: standard error of the estimate; NaN where nothing tells it.
        freedom: degrees of freedom of Student's t.
    """

    estimate: float
    error: float
    freedom: float

    def half_width(self, level: float = LEVEL) -> float:
        """Half the interval at a two-sided confidence; NaN where nothing tells the error."""
        if not (math.isfinite(self.error) and self.freedom > 0):
            return math.nan
        return float(stdtrit(self.freedom, (1 + level) / 2)) * self.error

    def excludes_zero(self, level: float = LEVEL) -> bool:
        """Whether the interval lies on one side of zero."""
        return abs(self.estimate) > self.half_width(level)

    @property
    def p(self) -> float:
        """Chance of so large an estimate where there is no difference (two-sided); NaN where nothing tells it."""
        if not (math.isfinite(self.error) and self.freedom > 0):
            return math.nan
        if self.error == 0:
            return float(self.estimate == 0)
        return 2 * float(stdtr(self.freedom, -abs(self.estimate) / self.error))


def moderated(variances: np.ndarray, freedoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances at several batch sizes, each drawn towards the mean of the others; those that stand out stay apart.

    Args:
        variances: sample variances, ``[..., sizes]``; NaN where there is none.
        freedoms: their degrees of freedom, in the same shape; 0 where there is none.

    Returns:
        Moderated variances and their degrees of freedom, ``[..., sizes]``; NaN and 0 where no size tells any.
    """
    freedoms = np.where(np.isfinite(variances), freedoms, 0.0)
    weighted = freedoms * np.where(freedoms > 0, variances, 0.0)
    apart = standing_out(variances, freedoms)
    lent, shared = np.where(apart, 0.0, freedoms), np.where(apart, 0.0, weighted)
    others = np.where(apart, 0.0, lent.sum(axis=-1, keepdims=True) - lent)
    with np.errstate(invalid="ignore", divide="ignore"):
        prior = (shared.sum(axis=-1, keepdims=True) - shared) / others
        weight = _weight_of(others)
        total = weight + freedoms
        pooled = (weight * np.where(others > 0, prior, 0.0) + weighted) / total
    return np.where(total > 0, pooled, math.nan), total


def standing_out(variances: np.ndarray, freedoms: np.ndarray) -> np.ndarray:
    """Which variances are larger than those at other batch sizes explain, as where a tuned setting is unstable.

    Largest first, a variance stands out when it exceeds `UNLIKE` times the mean of the others by more than chance does
    (F test at `STRANGE`).

    Args:
        variances: sample variances, ``[..., sizes]``; NaN where there is none.
        freedoms: their degrees of freedom, in the same shape; 0 where there is none.
    """
    apart = np.zeros(variances.shape, dtype=bool)
    for _ in range(variances.shape[-1] - 1):
        freedom = np.where(apart | ~np.isfinite(variances), 0.0, freedoms)
        weighted = freedom * np.where(freedom > 0, variances, 0.0)
        others = freedom.sum(axis=-1, keepdims=True) - freedom
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (weighted.sum(axis=-1, keepdims=True) - weighted) / others
            excess = variances / (UNLIKE * fdtri(freedom, others, 1 - STRANGE) * mean)
        excess = np.where((freedom > 0) & (others > 0) & (mean > 0), excess, 0.0)
        largest = (excess == excess.max(axis=-1, keepdims=True)) & (excess > 1)
        if not largest.any():
            break
        apart |= largest
    return apart


def _weight_of(others: Any) -> Any:
    """Degrees of freedom that spreads at other batch sizes lend: few of them tell their own mean badly too."""
    return PRIOR_FREEDOM * others / (PRIOR_FREEDOM + others)


def combined(errors: np.ndarray, freedoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard error and degrees of freedom of a sum of independent parts (Satterthwaite 1946).

    Args:
        errors: standard errors of the parts, ``[parts, ...]``.
        freedoms: their degrees of freedom, in the same shape.

    Returns:
        Both without the first dimension; where every error is 0, the fewest degrees of freedom.
    """
    squares = np.square(errors)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = np.where(squares > 0, np.square(squares) / freedoms, squares).sum(axis=0)
        total = squares.sum(axis=0)
        joint = np.where(parts > 0, np.square(total) / parts, np.min(freedoms, axis=0))
    return np.sqrt(total), joint


def errors_of_means(
    variances: np.ndarray,
    seeds: np.ndarray,
    surface_errors: np.ndarray,
    surface_freedoms: np.ndarray | float = SURFACE_FREEDOM,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of means over seeds at the batch sizes of a sweep.

    Args:
        variances: between seeds, ``[..., sizes]``; NaN with one seed.
        seeds: how many, in the same shape.
        surface_errors: standard errors of what the settings' choice costs.
        surface_freedoms: their degrees of freedom.

    Returns:
        Standard errors, their degrees of freedom, and the moderated variances; NaN and 0 where nothing tells them.
    """
    variances, freedoms = moderated(variances, seeds - 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_seeds = np.sqrt(variances / seeds)
    of_surface = np.broadcast_to(surface_freedoms, freedoms.shape)
    errors, joint = combined(np.stack([of_seeds, surface_errors]), np.stack([freedoms, of_surface]))
    return errors, np.where(freedoms > 0, joint, 0.0), variances


def holm(p: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Which differences hold together at a confidence, by Holm's correction.

    Args:
        p: two-sided, one per verdict, ``[..., verdicts]``; NaN where there is no verdict to be had.
        level: chance that no false one is among them.

    Returns:
        Bool, in the same shape.
    """
    p = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(p, axis=-1)
    steps = np.take_along_axis(p, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    holds = np.maximum.accumulate(steps, axis=-1) <= 1 - level
    result = np.empty_like(holds)
    np.put_along_axis(result, order, holds, axis=-1)
    return result


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What can be said of one gap.

    Attributes:
        kind: see the module.
        ahead: label of the optimizer that is better, or that the gap leans to; None for level and open.
    """

    kind: Kind
    ahead: str | None = None


def verdict(
    interval: Interval,
    *,
    pair: tuple[str, str],
    margin: float,
    seeds: int,
    edges: tuple[bool, bool] = (False, False),
    level: float = LEVEL,
) -> Verdict:
    """The verdict over one gap.

    An infinite gap, where every setting of one optimizer diverged, needs no interval.

    Args:
        interval: of the difference.
        pair: labels of the reference and the challenger.
        margin: in the unit of the loss.
        seeds: fewest results behind either loss.
        edges: whether the reference's and the challenger's tuned point lie on an edge of their grids.
        level: two-sided confidence of *better* and *level*.
    """
    if seeds < 2:
        return Verdict(kind="open")
    ahead, behind_on_edge = (pair[1], edges[0]) if interval.estimate > 0 else (pair[0], edges[1])
    if math.isinf(interval.estimate) or interval.excludes_zero(level):
        return Verdict(kind="leans" if behind_on_edge else "better", ahead=ahead)
    if abs(interval.estimate) + interval.half_width(level) < margin and not any(edges):
        return Verdict(kind="level")
    if interval.excludes_zero(LEANING):
        return Verdict(kind="leans", ahead=ahead)
    return Verdict(kind="open")


def seeds_for_power(
    estimate: float, spread: float, *, surface_error: float = 0.0, margin: float = 0.0, sizes: int = 1
) -> float:
    """Fewest reporting seeds with which a gap of this size is decided, *better* or *level*, with a chance of `POWER`.

    Args:
        estimate: the gap.
        spread: standard deviation of the differences by seed.
        surface_error: standard error that no number of seeds removes.
        margin: within which the two are level, in the unit of the loss.
        sizes: batch sizes whose spreads moderate each other.

    Returns:
        A whole number from 2 up; infinity above `MOST_SEEDS`, or where the surface's error alone forbids it; NaN where
        the gap or the spread is not known.
    """
    if not (math.isfinite(estimate) and math.isfinite(spread)):
        return math.nan

    def decides(seeds: int) -> bool:
        errors = np.array([spread / math.sqrt(seeds), surface_error])
        freedom_of_seeds = seeds - 1.0
        total, freedom = combined(
            errors, np.array([freedom_of_seeds + _weight_of((sizes - 1) * freedom_of_seeds), SURFACE_FREEDOM])
        )
        quantile = stdtrit(freedom, (1 + LEVEL) / 2)

        def chance(distance: float) -> float:
            """That an interval around a gap this far from a bound lies on the right side of it."""
            away = max(-_FAR, min(distance / max(float(total), 1e-300), _FAR))
            return 1 - float(nctdtr(freedom, away, quantile))

        away = abs(estimate)
        return max(chance(away), chance(margin - away) + chance(margin + away) - 1) >= POWER

    needed = 2 + bisect.bisect_left(range(2, MOST_SEEDS + 1), True, key=decides)
    return float(needed) if needed <= MOST_SEEDS else math.inf
