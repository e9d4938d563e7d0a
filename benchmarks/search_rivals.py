"""Other ways to choose the next setting, for `benchmarks/search.py`: one run at a time, each knowing those before.

A rival sees settings as points of the unit cube, numbers where the suite's own space has them, choices as a column per
value, and losses as the suite's own surface does: the logarithm of 1 and the loss above the lowest in units of 1%, at
most 4, which a diverged run has.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np

from suite.surface.model import RESOLUTION, WORST

START = 6
"""Runs that a rival with a surface spends on random settings first."""

Ask = Callable[[int], float]
"""A setting's number -> its loss."""

Rival = Callable[[np.ndarray, Ask, int, int], list[int]]
"""(points ``[settings, columns]``, ask, number of runs, seed) -> the settings in the order in which they were tried."""


class _Trials:
    """The settings tried so far.

    Args:
        points: of all settings, ``[settings, columns]``.
        ask: trains one.
    """

    def __init__(self, points: np.ndarray, ask: Ask) -> None:
        self.points, self._ask = points, ask
        self.tried: list[int] = []
        self.losses: list[float] = []

    def add(self, setting: int) -> None:
        """Train a setting."""
        self.tried.append(setting)
        self.losses.append(self._ask(setting))

    def add_nearest(self, point: np.ndarray) -> None:
        """Train the untried setting nearest to a point."""
        distance = np.square(self.points - point).sum(axis=1)
        distance[self.tried] = np.inf
        self.add(int(np.argmin(distance)))

    @property
    def values(self) -> np.ndarray:
        """The quantity to make small."""
        losses = np.array(self.losses)
        lowest = losses[np.isfinite(losses)].min(initial=np.inf)
        if np.isinf(lowest):
            return np.full(len(losses), WORST)
        return np.minimum(np.log1p((losses - lowest) / (RESOLUTION * abs(lowest))), WORST)


def random(points: np.ndarray, ask: Ask, runs: int, seed: int) -> list[int]:
    """Random settings."""
    return np.random.default_rng(seed).permutation(len(points))[:runs].tolist()


def coordinate_descent(points: np.ndarray, ask: Ask, runs: int, seed: int) -> list[int]:
    """From a random setting, the values of one axis after the other, nearest first, as long as they are better."""
    trials = _Trials(points, ask)
    generator = np.random.default_rng(seed)
    while len(trials.tried) < runs:
        trials.add(int(generator.choice(np.setdiff1d(np.arange(len(points)), trials.tried))))
        best, moved = trials.tried[-1], True
        while moved and len(trials.tried) < runs:
            moved = False
            for axis in generator.permutation(points.shape[1]):
                for side in (-1, 1):
                    while len(trials.tried) < runs:
                        beyond = _next(points, best, int(axis), side)
                        if beyond is None or beyond in trials.tried:
                            break
                        trials.add(beyond)
                        if not trials.losses[-1] < trials.losses[trials.tried.index(best)]:
                            break
                        best, moved = beyond, True
    return trials.tried


def _next(points: np.ndarray, setting: int, axis: int, side: int) -> int | None:
    """The setting with the next value on one axis and the same on the others."""
    same = (np.delete(points, axis, axis=1) == np.delete(points[setting], axis)).all(axis=1)
    ahead = side * (points[:, axis] - points[setting, axis])
    ahead = np.where(same & (ahead > 0), ahead, np.inf)
    return int(np.argmin(ahead)) if np.isfinite(ahead).any() else None


def sklearn_fitted(points: np.ndarray, ask: Ask, runs: int, seed: int) -> list[int]:
    """scikit-learn's Gaussian process with length scales of maximum likelihood, expected improvement."""
    from scipy.stats import norm
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    trials = _Trials(points, ask)
    for setting in random(points, ask, START, seed):
        trials.add(setting)
    kernel = ConstantKernel() * Matern(np.full(points.shape[1], 0.5), (0.1, 10.0), nu=2.5) + WhiteKernel(1e-2)
    while len(trials.tried) < min(runs, len(points)):
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            process.fit(points[trials.tried], trials.values)
        mean, deviation = process.predict(points, return_std=True)
        ahead = trials.values.min() - mean
        gain = ahead * norm.cdf(ahead / deviation) + deviation * norm.pdf(ahead / deviation)
        gain[trials.tried] = -np.inf
        trials.add(int(np.argmax(gain)))
    return trials.tried


def _optuna(points: np.ndarray, ask: Ask, runs: int, seed: int, *, name: str) -> list[int]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    settings = {"multivariate": True} if name == "TPESampler" else {}
    trials = _Trials(points, ask)
    for setting in random(points, ask, START, seed):
        trials.add(setting)
    spread = {f"x{axis}": optuna.distributions.FloatDistribution(0.0, 1.0) for axis in range(points.shape[1])}
    while len(trials.tried) < min(runs, len(points)):
        # Values change with the lowest loss, so every step has a study of its own with all that is known.
        sampler = getattr(optuna.samplers, name)(seed=seed + len(trials.tried), n_startup_trials=START, **settings)
        study = optuna.create_study(sampler=sampler)
        for setting, value in zip(trials.tried, trials.values, strict=True):
            params = dict(zip(spread, points[setting].clip(0.0, 1.0).tolist(), strict=True))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=spread, value=float(value)))
        asked = study.ask(spread)
        trials.add_nearest(np.array([asked.params[axis] for axis in spread]))
    return trials.tried


def optuna_tpe(points: np.ndarray, ask: Ask, runs: int, seed: int) -> list[int]:
    """Optuna's tree-structured Parzen estimator."""
    return _optuna(points, ask, runs, seed, name="TPESampler")


def optuna_gp(points: np.ndarray, ask: Ask, runs: int, seed: int) -> list[int]:
    """Optuna's Gaussian process."""
    return _optuna(points, ask, runs, seed, name="GPSampler")


def botorch(points: np.ndarray, ask: Ask, runs: int, seed: int) -> list[int]:
    """BoTorch's Gaussian process with its default priors, logarithmic expected improvement."""
    import torch
    from botorch.acquisition import LogExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    warnings.filterwarnings("ignore", module="botorch|gpytorch|linear_operator")
    trials = _Trials(points, ask)
    for setting in random(points, ask, START, seed):
        trials.add(setting)
    torch.manual_seed(seed)
    everywhere = torch.tensor(points)
    while len(trials.tried) < min(runs, len(points)):
        values = torch.tensor(-trials.values)[:, None]
        process = SingleTaskGP(everywhere[trials.tried], values, outcome_transform=Standardize(m=1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(process.likelihood, process))
        with torch.no_grad():
            gain = LogExpectedImprovement(process, best_f=values.max())(everywhere[:, None, :]).numpy()
        gain[trials.tried] = -np.inf
        trials.add(int(np.argmax(gain)))
    return trials.tried


RIVALS: dict[str, tuple[Rival, str]] = {
    "random": (random, ""),
    "coordinate_descent": (coordinate_descent, ""),
    "optuna_tpe": (optuna_tpe, "optuna"),
    "optuna_gp": (optuna_gp, "optuna"),
    "sklearn_fitted": (sklearn_fitted, ""),
    "botorch": (botorch, "botorch"),
}
"""Name -> the rival and the package that it needs beside the suite's."""


def installed() -> Iterator[str]:
    """The rivals whose package is there."""
    return (name for name, (_, package) in RIVALS.items() if not package or find_spec(package) is not None)
