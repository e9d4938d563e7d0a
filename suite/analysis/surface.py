"""What the choice among a grid's noisy settings costs: the loss of the chosen setting above that of the best one.

Near its minimum the logarithm of the final loss is a smooth function of the learning rate and the momentum (where
losses differ by percents, the loss itself; where by factors, a quadratic of the loss would reach below zero). A
quadratic in log(lr) and log(1 - momentum) is fitted to it by weighted least squares over the settings within `REACH`
grid steps of the chosen one; losses that are not all positive are taken as they are. A loss that rises faster, as it
does where training is about to diverge, takes no part: settings enter in the order of their losses, up to the first
that lies above what those before it predict (at `SURPRISE`); on small grids values of an axis from which on the loss is
too steep for a quadratic (`STEEP`) are left out before.

The excess is the depth of the quadratic below the chosen setting, within the neighbours that took part: nothing is
extrapolated past the grid or into divergence. Nor is more taken off than the nearer of two neighbours' losses leaves
room for (`_most`): a loss that rises ten times as far on one side as on the other says that a cliff is near, not that
the minimum is; the rest of the depth counts as error then. Where a curvature is hardly told, it is at least `FLOOR` of
its standard errors: a flat grid costs little, whatever the noise makes of it. A quadratic is no exact model: `MODEL` of
the excess counts as error. `benchmarks/verdicts.py` measures the bias (at most a tenth of the spread between seeds) and
how the error covers.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from suite.records.tuning import is_momentum, is_ordered

REACH = 2
"""Grid steps on every axis within which settings take part."""

FLOOR = 1.75
"""Standard errors that a curvature is taken to have at least."""

SURPRISE = 0.999
"""One-sided confidence at which a loss is too high for the quadratic through lower ones."""

STEEP, FEW_STEEP = 6.0, 18.0
"""Ratios of a loss above the lowest of its axis to the next smaller: no quadratic has it; of the third, few have."""

ASKEW = 5.0
"""Ratio of the rises to both sides of a setting up to which they are taken for a quadratic's."""

MODEL = 1 / 8
"""Share of an excess that is taken for the error of the quadratic itself."""

_FEW = 2
"""Settings per coefficient below which predictions tell a cliff badly, so that the ratios of losses are asked first."""

_SPARE = 2
"""Settings beyond the number of coefficients with which the first prediction is made."""

_ROUNDING = 1e-9
"""Share of the loss that is no surprise."""

_SQUARED = 0.025
"""Share of (variance of a slope / curvature) squared in the variance of an excess: of what noise makes of no slope."""

_FAR = 50.0
"""Error of a logarithm beyond which nothing is known anyway."""

_SWEEPS = 20
"""Passes over the axes in search of the minimum; it lies in a box, and three pass for two axes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Excess:
    """How far the chosen setting lies above the best one.

    Attributes:
        loss: the excess, at least 0, in the unit of the loss.
        error: its standard error.
        freedom: degrees of freedom behind the error.
        luck: how far the chosen setting's loss lies below the surface there: what it won by chance.
    """

    loss: float
    error: float
    freedom: float
    luck: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """A setting that was tried, as a point of the surface.

    Attributes:
        setting: ``(name, value)`` pairs.
        loss: mean over its seeds.
        seeds: how many.
        variance: between its seeds; NaN with one.
    """

    setting: tuple[tuple[str, Any], ...]
    loss: float
    seeds: int
    variance: float = math.nan


def excess_of(
    chosen: Tried, tried: Sequence[Tried], *, between_seeds: tuple[float, float] = (math.nan, 0.0)
) -> Excess | None:
    """The excess of a chosen setting over the minimum of the surface.

    Args:
        chosen: one of ``tried``.
        tried: settings of one optimizer at one batch size; those that diverged take no part.
        between_seeds: variance and its degrees of freedom of seeds that did not choose, where the grid tells no noise.

    Returns:
        None where the grid tells nothing: no axis with three values near the chosen one, or nothing that tells the
        noise.
    """
    near, at = _near(chosen, tried)
    is_logarithmic = all(point.loss > 0 for point in near)
    if is_logarithmic:
        near = [_logarithmic(point, chosen.loss) for point in near]
    order = np.argsort([point.loss for point in near], kind="stable")
    if len(near) < _FEW * _features(at, _curved(at)).shape[1]:
        order = order[~_on_cliffs(at[order], np.array([near[index].loss for index in order]))]
    order = order[: _kept([near[index] for index in order], chosen.loss, _features(at[order], _curved(at[order])))]
    near, at = [near[index] for index in order], at[order]
    at = at[:, [len(set(column)) > 1 for column in at.T]]
    curved = _curved(at)
    if not curved:
        return None
    features = _features(at, curved)
    weights = np.array([point.seeds for point in near], dtype=float)
    losses = np.array([point.loss for point in near]) - chosen.loss
    inverse = np.linalg.pinv((features * weights[:, None]).T @ features)
    fitted = inverse @ (features.T @ (weights * losses))
    rank = round(float(np.einsum("ij,jk,ik,i->", features, inverse, features, weights)))
    variance, freedom = _noise(near, float((weights * (losses - features @ fitted) ** 2).sum()), len(near) - rank)
    if freedom <= 0:
        variance, freedom = between_seeds
    if not (freedom > 0 and math.isfinite(variance)):
        return None
    depth, spread = _depth(fitted, inverse * variance, at, curved)
    certain = min(depth, _most(at, losses, curved))
    error = math.sqrt(spread + (MODEL * certain) ** 2 + (depth - certain) ** 2 / 3)
    luck = float(fitted[0])
    if is_logarithmic:
        certain, error, luck = _as_losses(certain, error, luck, chosen.loss)
    return Excess(loss=certain, error=error, freedom=freedom, luck=luck)


def _logarithmic(point: Tried, scale: float) -> Tried:
    """A point whose loss is ``scale`` (1 + log(loss / scale)): equal at ``scale``, with the slope 1 there."""
    return dataclasses.replace(
        point, loss=scale * (1 + math.log(point.loss / scale)), variance=point.variance * (scale / point.loss) ** 2
    )


def _as_losses(depth: float, error: float, luck: float, scale: float) -> tuple[float, float, float]:
    """Depth, error and luck on the scale of `_logarithmic` as losses; of the error's two sides the wider one."""
    least = scale * math.exp(-depth / scale)
    return scale - least, least * math.expm1(min(error / scale, _FAR)), scale * math.expm1(luck / scale)


def coordinates(name: str, values: Sequence[float]) -> list[float]:
    """Where the values of a setting lie on the axis on which the loss is smooth.

    Momenta and betas lie at -log(1 - value), positive values at their logarithm, others where they are.
    """
    if is_momentum(name) and all(0 <= value < 1 for value in values):
        return [-math.log1p(-value) for value in values]
    if all(value > 0 for value in values):
        return [math.log(value) for value in values]
    return [float(value) for value in values]


def _near(chosen: Tried, tried: Sequence[Tried]) -> tuple[list[Tried], np.ndarray]:
    """Finite settings within reach that share every choice, and where they lie from the chosen one, ``[points, axes]``.

    An axis is in units of the widest step beside the chosen setting.
    """
    points = [point for point in tried if math.isfinite(point.loss)]
    numbers = [name for name, value in chosen.setting if isinstance(value, int | float) and not isinstance(value, bool)]
    choices = {name: value for name, value in chosen.setting if name not in numbers}
    points = [p for p in points if {n: v for n, v in p.setting if n not in numbers} == choices]
    points = [p for p in points if is_ordered(dict(p.setting).get(name) for name in numbers)]
    centre = dict(chosen.setting)
    for name in numbers:
        values = sorted({dict(point.setting)[name] for point in points})
        rank = values.index(centre[name])
        within = set(values[max(0, rank - REACH) : rank + REACH + 1])
        points = [point for point in points if dict(point.setting)[name] in within]
    columns = []
    for name in numbers:
        values = sorted({dict(point.setting)[name] for point in points})
        if len(values) > 1:
            where = dict(zip(values, coordinates(name, values), strict=True))
            middle, rank = where[centre[name]], values.index(centre[name])
            step = max(abs(where[values[i]] - middle) for i in (rank - 1, rank + 1) if 0 <= i < len(values))
            columns.append([(where[dict(point.setting)[name]] - middle) / step for point in points])
    return points, np.array(columns).T.reshape(len(points), len(columns))


def _curved(at: np.ndarray) -> list[int]:
    """Axes with three values or more, which tell a curvature."""
    return [axis for axis, column in enumerate(at.T) if len(set(column)) > 2]


def _on_cliffs(at: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Which settings have a value at which the loss along its axis, others as chosen, is too steep for a quadratic.

    Args:
        at: as `_near` gives them, in the order of the losses.
        losses: ascending.
    """
    cliffs = np.zeros(len(at), dtype=bool)
    for axis in range(at.shape[1]):
        line = np.flatnonzero((np.delete(at, axis, axis=1) == 0).all(axis=1))
        above = losses[line] - losses[line[0]]
        ratios = np.where(np.arange(len(line)) > 2, STEEP, FEW_STEEP)
        steep = np.flatnonzero((above[2:] > ratios[2:] * above[1:-1]) & (above[1:-1] > 0))
        if len(steep):
            cliffs |= np.isin(at[:, axis], at[line[2 + steep[0] :], axis])
    return cliffs


def _features(at: np.ndarray, curved: Sequence[int]) -> np.ndarray:
    """What the surface is linear in: 1, every axis, half the squares and the products of those that are curved."""
    squares = [0.5 * at[:, axis] ** 2 for axis in curved]
    products = [at[:, one] * at[:, other] for one, other in itertools.combinations(curved, 2)]
    return np.column_stack([np.ones(len(at)), at, *squares, *products])


def _kept(near: Sequence[Tried], level: float, features: np.ndarray) -> int:
    """How many of the settings, in the order of their losses, one quadratic fits."""
    count, size = features.shape
    losses = np.array([point.loss for point in near]) - level
    weights = np.array([point.seeds for point in near], dtype=float)
    between = np.array([(p.seeds - 1) * p.variance if p.seeds > 1 else 0.0 for p in near])
    spare = np.array([p.seeds - 1.0 for p in near])
    for new in range(min(size + _SPARE, count), count):
        x, y, w = features[:new], losses[:new], weights[:new]
        matrix = (x * w[:, None]).T @ x
        matrix[np.diag_indices(size)] += 1e-9 * np.trace(matrix)
        solved = np.linalg.solve(matrix, np.column_stack([x.T @ (w * y), features[new]]))
        freedom = new - size + spare[:new].sum()
        noise = (float((w * (y - x @ solved[:, 0]) ** 2).sum()) + between[:new].sum()) / freedom
        error = math.sqrt(noise * (1 / weights[new] + float(features[new] @ solved[:, 1])))
        surprising = max(float(stdtrit(freedom, SURPRISE)) * error, _ROUNDING * abs(level))
        if losses[new] - features[new] @ solved[:, 0] > surprising:
            return new
    return count


def _noise(near: Sequence[Tried], residual: float, left: int) -> tuple[float, float]:
    """Variance of a single run around the surface and its degrees of freedom: of the fit, and between seeds."""
    between = [point for point in near if point.seeds > 1 and math.isfinite(point.variance)]
    freedom = max(0, left) + sum(point.seeds - 1 for point in between)
    if freedom == 0:
        return math.nan, 0.0
    total = (residual if left > 0 else 0.0) + sum((p.seeds - 1) * p.variance for p in between)
    return total / freedom, float(freedom)


def _most(at: np.ndarray, losses: np.ndarray, curved: Sequence[int]) -> float:
    """The largest depth below the chosen setting that its neighbours' losses leave room for.

    On a line, a quadratic through a lowest point and its two neighbours, the larger rise at most `ASKEW` times the
    smaller, lies at most (ASKEW - 1)^2 / (8 (ASKEW + 1)) of the smaller rise below that point; a neighbour that is
    lower adds its own depth. Lines are the curved axes and, for a valley that lies askew, the flatter diagonal of two.

    Args:
        at: as `_near` gives them.
        losses: above the chosen setting's.
        curved: axes that the minimum is sought on.
    """

    def on_line(direction: np.ndarray) -> float:
        along = at @ direction / float(direction @ direction)
        on = np.flatnonzero((np.abs(at - along[:, None] * direction) < 1e-9).all(axis=1) & (along != 0))
        sides = [on[np.sign(along[on]) == side] for side in (-1, 1)]
        rises = np.array([losses[side[np.argmin(np.abs(along[side]))]] for side in sides if len(side)])
        if not len(rises):
            return math.nan
        return max(0.0, -rises.min()) + np.abs(rises).min() * (ASKEW - 1) ** 2 / (8 * (ASKEW + 1))

    unit = np.eye(at.shape[1])
    lines = [on_line(unit[axis]) for axis in curved]
    for one, other in itertools.combinations(curved, 2):
        diagonals = [on_line(unit[one] + sign * unit[other]) for sign in (-1, 1)]
        lines.append(0.0 if np.isnan(diagonals).all() else float(np.nanmin(diagonals)))
    return math.inf if np.isnan(lines).any() else float(sum(lines))


def _depth(fitted: np.ndarray, covariance: np.ndarray, at: np.ndarray, curved: Sequence[int]) -> tuple[float, float]:
    """Depth of the surface's minimum below the chosen setting, and its variance.

    The variance is that of the difference between two points of the surface (the minimum moves to second order only),
    and where the slope is none, that of a square of noise.
    """
    axes = len(curved)
    slopes = np.array([1 + axis for axis in curved])
    squares = 1 + at.shape[1] + np.arange(axes)
    gradient, of_slope = fitted[slopes], np.diag(covariance)[slopes]
    floors = FLOOR * np.sqrt(np.maximum(0.0, np.diag(covariance)[squares]))
    hessian = np.diag(np.maximum(fitted[squares], floors))
    for number, (one, other) in enumerate(itertools.combinations(range(axes), 2)):
        most = 0.9 * math.sqrt(hessian[one, one] * hessian[other, other])
        bend = float(np.clip(fitted[squares[-1] + 1 + number], -most, most))
        hessian[one, other] = hessian[other, one] = bend
    if not (np.diag(hessian) > 0).all():
        return 0.0, 0.0
    below = np.array([-float((at[:, axis] < 0).any()) for axis in curved])
    above = np.array([float((at[:, axis] > 0).any()) for axis in curved])
    minimum = np.zeros(axes)
    for _ in range(_SWEEPS):
        for axis in range(axes):
            pull = gradient[axis] + hessian[axis] @ minimum - hessian[axis, axis] * minimum[axis]
            minimum[axis] = np.clip(-pull / hessian[axis, axis], below[axis], above[axis])
    depth = -float(gradient @ minimum + 0.5 * minimum @ hessian @ minimum)
    moved = np.zeros((1, at.shape[1]))
    moved[0, list(curved)] = minimum
    change = _features(moved, curved)[0]
    change[0] = 0.0
    return max(0.0, depth), float(
        change @ covariance @ change + _SQUARED * np.square(of_slope / np.diag(hessian)).sum()
    )
