"""The final loss as a Gaussian process over the settings of an optimizer.

Modelled is the logarithm of a loss above the best one, log(1 + (loss - best) / c) with c of `RESOLUTION` of the loss:
linear where settings compete, flat where they are out of the race. A run that diverged, and one whose loss lies above
`WORST`, is bad by an unknown amount: it counts as `WORST` with a wide error.

A dozen runs do not tell length scales. So none is fitted: `DRAWS` sets of them are drawn from the prior, each makes a
process of its own (scikit-learn's, Matern 5/2), and each counts by its marginal likelihood. The prior says that losses
change over a third of an axis as it was first laid out, that the axes were laid out around good settings (a shallow
bowl), that other batch sizes of the same optimizer resemble each other, and that a momentum may lengthen a step: losses
vary along ``lr`` (as those of averaged gradients do, Adam's), along ``lr / (1 - momentum)`` (heavy ball's), or between.
`benchmarks/search.py` measures what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from suite.surface.space import Space

DRAWS = 64
"""Sets of length scales, amplitudes, noises and shares of momentum."""

RESOLUTION = 0.01
"""Share of the loss above the best one up to which the modelled quantity is nearly linear."""

WORST = 4.0
"""Modelled quantity above which a loss is bad by an unknown amount: half as much again as the best loss."""

UNKNOWN = 1.0
"""Standard deviation of that amount."""

PER_DRAW = 8
"""Samples that are drawn at least from a process that is drawn from."""

_JITTER = 1e-6


@dataclass(frozen=True)
class _Prior:
    """Median and standard deviation of the logarithm."""

    median: float
    spread: float

    def __call__(self, normal: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.median * np.exp(self.spread * normal)
        return result


_LENGTH = _Prior(0.7, 0.5)
_CHOICE_LENGTH = _Prior(3.0, 0.7)
_GROUP_LENGTH = _Prior(4.5, 0.7)
_AMPLITUDE = _Prior(1.3, 0.4)
_NOISE = _Prior(0.0016, 0.5)
"""Of a loss, as a share of it."""
_ROUGHNESS = _Prior(0.05, 0.5)
"""What the modelled quantity has beside the noise of the loss."""
_MEAN, _MEAN_SPREAD = 2.0, 1.0
_BOWL, _BOWL_SPREAD = 1.0, 0.5
"""Height of the mean at the ends of an axis above its middle."""


@dataclass(frozen=True)
class Results:
    """Runs that have a result, of one group.

    Attributes:
        at: coordinates, ``[runs, columns]``.
        losses: final losses; infinite where a run diverged.
        seeds: number of seeds that each loss is the mean of; None: one.
    """

    at: np.ndarray
    losses: np.ndarray
    seeds: np.ndarray | None = None


class Surface:
    """The surface after some results.

    Args:
        space: the space of the settings.
        results: of the group that is asked about.
        others: of other groups of the same space.
        seed: of all draws.

    Attributes:
        best: the lowest loss of the group; NaN without one.
    """

    def __init__(self, space: Space, results: Results, others: tuple[Results, ...] = (), *, seed: int = 0) -> None:
        self._random = np.random.default_rng([seed, len(results.losses)])
        self._space = space
        finite = results.losses[np.isfinite(results.losses)]
        self.best = float(finite.min()) if len(finite) else float("nan")
        _, self._scale = _level_and_scale(results.losses)
        self._draw_prior(seed)
        groups = [group for group in (results, *others) if len(group.losses)]
        values = [_modelled(group) for group in groups]
        self._condition(
            np.concatenate([group.at for group in groups]),
            np.concatenate([value for value, _, _ in values]),
            np.concatenate([slope for _, slope, _ in values]),
            np.concatenate([is_unknown for _, _, is_unknown in values]),
        )

    def samples(self, at: np.ndarray, count: int) -> np.ndarray:
        """What the losses without noise may be at some settings of the group, drawn together.

        Args:
            at: coordinates, ``[settings, columns]``.
            count: how many, a multiple of `PER_DRAW`.

        Returns:
            Losses, ``[count, settings]``; where no run has a finite loss, in a unit of their own.
        """
        strata = (np.arange(count // PER_DRAW) + 0.5) / (count // PER_DRAW)
        picks = np.minimum(np.searchsorted(np.cumsum(self._weights), strata), DRAWS - 1)
        parts = []
        for draw, times in zip(*np.unique(picks, return_counts=True), strict=True):
            mean, covariance = self._processes[draw].predict(self._along_steps(at, draw), return_cov=True)
            covariance[np.diag_indices(len(at))] += _JITTER
            normal = self._random.standard_normal((times * PER_DRAW, len(at)))
            values = self._mean(at, draw) + mean + normal @ np.linalg.cholesky(covariance).T
            above = self._scale * np.expm1(np.minimum(values, 2 * WORST))
            parts.append(above)
        return np.concatenate(parts) + (self.best if np.isfinite(self.best) else 0.0)

    def lower_bounds(self, at: np.ndarray) -> np.ndarray:
        """The modelled quantity less its standard deviation at some settings, by the likeliest process."""
        draw = int(np.argmax(self._weights))
        mean, deviation = self._processes[draw].predict(self._along_steps(at, draw), return_std=True)
        result: np.ndarray = self._mean(at, draw) + mean - deviation
        return result

    def _draw_prior(self, seed: int) -> None:
        from scipy.stats import qmc

        space = self._space
        axes, numbers = max(space.kinds, default=-1) + 1, space.numbers
        uniform = qmc.Sobol(axes + numbers + 3 + len(space.trades), seed=seed).random(DRAWS)
        self._shares = uniform[:, axes + numbers + 3 :]
        normal = ndtri(np.clip(uniform, 1e-6, 1 - 1e-6))
        lengths = [_LENGTH] * numbers + [_CHOICE_LENGTH] * (axes - numbers)
        if space.has_groups:
            lengths[-1] = _GROUP_LENGTH
        by_axis = np.array([prior(normal[:, axis]) for axis, prior in enumerate(lengths)]).reshape(axes, DRAWS)
        self._lengths = by_axis[space.kinds].T
        self._bowls = _BOWL + _BOWL_SPREAD * normal[:, axes : axes + numbers]
        self._amplitudes, self._noises, self._roughness = (
            prior(normal[:, axes + numbers + number]) for number, prior in enumerate((_AMPLITUDE, _NOISE, _ROUGHNESS))
        )

    def _along_steps(self, at: np.ndarray, draw: int) -> np.ndarray:
        """Coordinates whose learning rates are longer by the draw's share of what their momenta lengthen a step by."""
        result = at.copy()
        for trade, share in zip(self._space.trades, self._shares[draw], strict=True):
            result[:, trade.rate] += share * trade.size * at[:, trade.momentum]
        return result

    def _condition(self, at: np.ndarray, values: np.ndarray, slopes: np.ndarray, is_unknown: np.ndarray) -> None:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern

        self._processes: list[Any] = []
        for draw in range(DRAWS):
            kernel = ConstantKernel(_MEAN_SPREAD**2) + ConstantKernel(self._amplitudes[draw] ** 2) * Matern(
                self._lengths[draw], nu=2.5
            )
            noise = np.square(self._noises[draw] * slopes) + self._roughness[draw] ** 2 + UNKNOWN**2 * is_unknown
            process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
            self._processes.append(process.fit(self._along_steps(at, draw), values - self._mean(at, draw)))
        likelihoods = np.array([process.log_marginal_likelihood_value_ for process in self._processes])
        weights = np.exp(likelihoods - likelihoods.max())
        self._weights = weights / weights.sum()

    def _mean(self, at: np.ndarray, draw: int) -> np.ndarray:
        inside = np.minimum(np.square(at[:, : self._space.numbers]), 1.0)
        result: np.ndarray = _MEAN + inside @ self._bowls[draw]
        return result


def _level_and_scale(losses: np.ndarray) -> tuple[float, float]:
    """The size of the best loss, and the difference of losses up to which the modelled quantity is linear."""
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return 1.0, RESOLUTION
    level = abs(float(finite.min()))
    # A loss that goes to zero has no meaningful share of itself.
    return level, max(RESOLUTION * level, RESOLUTION * float(np.median(finite) - finite.min()), 1e-12)


def _modelled(results: Results) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The modelled quantity, how fast it changes with a loss as a share of the best, and which is bad by an unknown."""
    level, scale = _level_and_scale(results.losses)
    finite = results.losses[np.isfinite(results.losses)]
    above = results.losses - (finite.min() if len(finite) else 0.0)
    values = np.log1p(np.where(np.isfinite(above), above, np.inf) / scale)
    is_unknown = values >= WORST
    seeds = np.ones(len(values)) if results.seeds is None else results.seeds
    slopes = np.where(is_unknown, 0.0, level / (scale + np.where(is_unknown, 0.0, above))) / np.sqrt(seeds)
    return np.minimum(values, WORST), slopes, is_unknown
