"""Which settings of a lattice to train next, where a surface is searched instead of a grid.

The start is spread (a Latin hypercube that keeps off the ends of the axes); where other batch sizes of the same
optimizer have results, the settings that were best there come first. Then follow batches: each setting of a
batch is the one that lowers the lowest loss known most in expectation, given those before it (the expected improvement
of the batch, over losses without noise that are drawn together from the surface, for the tried settings too). The
search is over when the chance that an untried setting is better than every tried one by more than the asked precision,
by the same draws, is below `CHANCE`.

Pure: the same results give the same proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from suite.surface.model import Results, Surface
from suite.surface.space import Space
from suite.sweep.surface_search import CHANCE

LEVEL = 0.9
"""Confidence of `Lattice.best`."""

START = 6
"""Settings of the first batch at least."""

OF_EACH, FROM_OTHERS = 2, 3
"""Best settings of each other batch size, and of all of them together, in the first batch."""

SAMPLES = 512

MOST_ASKED = 400
"""Untried settings that one surface is asked about; of more, those with the lowest bounds and some at random."""

_OFF_THE_ENDS = 0.15
"""Share of an axis at either end that the first settings leave out."""

_HYPERCUBES = 30


@dataclass(frozen=True)
class Proposal:
    """What to do next.

    Attributes:
        settings: numbers of the lattice's settings to train next; empty where all have been tried.
        chance: that an untried setting is better than every tried one by more than the precision; 1 without a result.
    """

    settings: tuple[int, ...]
    chance: float

    @property
    def is_over(self) -> bool:
        """Whether the search has found what it was asked to."""
        return self.chance < CHANCE


class Lattice:
    """The settings of one search.

    Args:
        space: of the settings.
        at: their coordinates.
        seed: of the proposals.
    """

    def __init__(self, space: Space, at: np.ndarray, *, seed: int) -> None:
        self.space, self.at, self.seed = space, at, seed

    def start(self, count: int, others: Sequence[Results] = ()) -> Proposal:
        """The first batch.

        Args:
            count: how many settings, fewer where the lattice has fewer.
            others: results of the same optimizer at other batch sizes.
        """
        if count >= len(self.at):
            return Proposal(tuple(range(len(self.at))), 1.0)
        first = self._best_elsewhere(others)[: min(FROM_OTHERS, count)]
        return Proposal(tuple(self._spread(count, first)), 1.0)

    def following(
        self, tried: Sequence[int], losses: np.ndarray, count: int, *, precision: float, others: Sequence[Results] = ()
    ) -> Proposal:
        """The next batch.

        Args:
            tried: settings that have a result.
            losses: theirs, infinite where a run diverged.
            count: how many settings to propose.
            precision: percent of the loss by which a setting is better.
            others: as in `start`.
        """
        left = np.setdiff1d(np.arange(len(self.at)), np.array(tried, dtype=int))
        if not len(left):
            return Proposal((), 0.0)
        surface = self.surface(tried, losses, others)
        asked = self._asked(surface, left)
        drawn = surface.samples(self.at[np.concatenate([np.array(tried, dtype=int), asked])], SAMPLES)
        of_tried, of_untried = drawn[:, : len(tried)].min(axis=1), drawn[:, len(tried) :]
        better = of_untried.min(axis=1) < of_tried - precision / 100 * abs(surface.best)
        chance = float(better.mean()) if np.isfinite(surface.best) else 1.0
        chosen = _most_improvement(of_untried, of_tried, min(count, len(asked)))
        return Proposal(tuple(int(asked[column]) for column in chosen), chance)

    def best(self, tried: Sequence[int], losses: np.ndarray, others: Sequence[Results] = ()) -> tuple[float, float]:
        """Between which losses the lowest of the whole lattice lies, at `LEVEL`.

        The lowest loss tried is the upper end: training the rest can only lower it. The lower end lies at most the
        surface's scale (`suite.surface.model.RESOLUTION` of the loss) below it, which a handful of runs may miss by.
        """
        left = np.setdiff1d(np.arange(len(self.at)), np.array(tried, dtype=int))
        surface = self.surface(tried, losses, others)
        if not (len(left) and np.isfinite(surface.best)):
            return surface.best, surface.best
        lowest = surface.samples(self.at[self._asked(surface, left)], SAMPLES).min(axis=1)
        return float(min(surface.best, np.quantile(lowest, 1 - LEVEL))), surface.best

    def surface(self, tried: Sequence[int], losses: np.ndarray, others: Sequence[Results] = ()) -> Surface:
        """The surface after some results; arguments as in `following`."""
        at = self.at[np.array(tried, dtype=int)]
        return Surface(self.space, Results(at, np.asarray(losses, dtype=float)), tuple(others), seed=self.seed)

    def _best_elsewhere(self, others: Sequence[Results]) -> list[int]:
        """The settings nearest to the best ones of other groups: the best of each, then the second of each, ...

        Of another group count the results that agree with the lattice where that has one value, if there are any.
        """
        of_settings = slice(0, len(self.space.kinds) - self.space.groups * self.space.has_groups)
        at = self.at[:, of_settings]
        fixed = (at == at[0]).all(axis=0)
        ranks: list[list[int]] = []
        for other in others:
            there = other.at[:, of_settings]
            agrees = (there[:, fixed] == at[0, fixed]).all(axis=1) & np.isfinite(other.losses)
            counted = np.flatnonzero(agrees if agrees.any() else np.isfinite(other.losses))
            best = counted[np.argsort(other.losses[counted], kind="stable")[:OF_EACH]]
            away = np.square(there[best][:, None, ~fixed] - at[None][..., ~fixed]).sum(axis=-1)
            ranks.append(away.argmin(axis=1).tolist())
        return list(dict.fromkeys(r[rank] for rank in range(OF_EACH) for r in ranks if rank < len(r)))

    def _asked(self, surface: Surface, left: np.ndarray) -> np.ndarray:
        if len(left) <= MOST_ASKED:
            return left
        bounds = surface.lower_bounds(self.at[left])
        return np.sort(left[np.argsort(bounds, kind="stable")[:MOST_ASKED]])

    def _spread(self, count: int, first: list[int]) -> list[int]:
        """Settings near the points of a Latin hypercube, of several the one whose settings lie farthest apart."""
        from scipy.stats import qmc

        random = np.random.default_rng(self.seed)
        low, high = self.at.min(axis=0), self.at.max(axis=0)
        unit = (self.at - low) / np.where(high > low, high - low, 1.0)
        best: tuple[float, list[int]] = (-1.0, first)
        for _ in range(_HYPERCUBES):
            points = qmc.LatinHypercube(unit.shape[1], rng=random).random(count - len(first))
            chosen = list(first)
            for point in _OFF_THE_ENDS + (1 - 2 * _OFF_THE_ENDS) * points:
                distance = np.square(unit - point).sum(axis=1) + 1e-9 * random.random(len(unit))
                distance[chosen] = np.inf
                chosen.append(int(np.argmin(distance)))
            apart = np.square(unit[chosen][:, None] - unit[chosen][None]).sum(axis=-1)
            nearest = float(apart[np.triu_indices(count, 1)].min(initial=np.inf))
            if nearest > best[0]:
                best = nearest, chosen
        return best[1]


def _most_improvement(losses: np.ndarray, level: np.ndarray, count: int) -> list[int]:
    """Settings that lower a level most in expectation, chosen one after the other.

    Args:
        losses: ``[samples, settings]``.
        level: the lowest loss known, ``[samples]``.
        count: how many settings; where none lowers it in any sample, those of the lowest medians.
    """
    chosen: list[int] = []
    medians = np.median(losses, axis=0)
    for _ in range(count):
        gain = np.maximum(0.0, level[:, None] - losses).mean(axis=0)
        gain[chosen] = -1.0
        left = np.where(gain == gain.max(), medians, np.inf)
        chosen.append(int(np.argmin(left)))
        level = np.minimum(level, losses[:, chosen[-1]])
    return chosen
