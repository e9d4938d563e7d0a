"""What loss does each method reach on a noisy quadratic at a batch size, when its learning rate is tuned?

The prediction for paper 2, Figure 17. SGD's expected loss follows from the second moment of the iterate exactly; sign
descent's from its diffusion limit (`suite.theory.sde`), simulated in steps of one optimizer step.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from suite.theory.bounds import Array
from suite.theory.hessians import design_rows
from suite.theory.sde import expected_sign

Noise = Literal["rows", "gaussian"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class NoisyQuadratic:
    """Loss ``w' H w / 2`` whose gradient is known from noisy samples.

    Attributes:
        hessian: ``[d, d]``.
        noise: ``gaussian``: a sample's gradient is ``H w + sigma xi``; ``rows``: sample ``i`` has the loss
            ``(a_i' w)^2 / 2``, a batch is a random subset of the ``d`` rows (paper 2, appendix I).
        sigma: standard deviation of one sample's Gaussian noise, per coordinate.
    """

    hessian: Array
    noise: Noise = "gaussian"
    sigma: float = 1.0

    def loss(self, points: Array) -> Array:
        """Exact loss ``[...]`` of points ``[..., d]``."""
        return 0.5 * np.einsum("...i,ij,...j->...", points, self.hessian, points)

    def spread(self, points: Array, batch_size: int) -> Array:
        """Standard deviations of a batch's gradient, ``[..., d]``, at points ``[..., d]``."""
        if self.noise == "gaussian":
            return np.broadcast_to(self.sigma / math.sqrt(batch_size), points.shape)
        rows = design_rows(self.hessian)
        variance = np.square(points @ rows.T) @ np.square(rows) / len(rows) - np.square(points @ self.hessian)
        return np.sqrt(np.maximum(variance, 0) * subset_share(batch_size, len(rows)))


def subset_share(batch_size: int, samples: int) -> float:
    """Variance of the mean of a random subset, as a share of one sample's: ``(n - B) / (B (n - 1))``.

    Raises:
        ValueError: the subset is larger than the set.
    """
    if not 1 <= batch_size <= samples:
        raise ValueError(
            f"A batch of distinct rows must have 1 to {samples} of them, got batch_size {batch_size}; lower it or use "
            "gaussian noise."
        )
    return (samples - batch_size) / (batch_size * max(1, samples - 1))


def sgd_losses(problem: NoisyQuadratic, start: Array, lrs: Array, batch_size: int) -> Array:
    r"""Expected loss of SGD, exactly.

    With :math:`C_t = E[w_t w_t^\top]` and :math:`\bar A` the mean Hessian of a batch,
    :math:`C_{t+1} = C_t - \eta (H C_t + C_t H) + \eta^2 E[\bar A C_t \bar A] + \eta^2 \sigma^2 I / B`. For rows
    :math:`E[\bar A C \bar A] = H C H + \frac{n - B}{B (n - 1)} (\frac1n \sum_i A_i C A_i - H C H)`.

    Args:
        problem: the quadratic.
        start: ``[d]``.
        lrs: learning rate of each step, ``[steps, ...]``; further dimensions are further runs.
        batch_size: ``B``.

    Returns:
        Loss before every step and after the last, ``[steps + 1, ...]``; huge or not finite where SGD diverges.

    Raises:
        ValueError: a batch of rows is larger than their number.
    """
    h = problem.hessian
    runs = np.shape(lrs)[1:]
    moment = np.broadcast_to(np.outer(start, start), (*runs, *h.shape)).copy()
    rows = design_rows(h) if problem.noise == "rows" else None
    share = 0.0 if rows is None else subset_share(batch_size, len(rows))
    identity = np.eye(len(h))
    losses = [0.5 * np.einsum("ij,...ji->...", h, moment)]
    with np.errstate(over="ignore", invalid="ignore"):
        for step in lrs:
            lr = np.asarray(step)[..., None, None]
            if rows is None:
                spread = problem.sigma**2 / batch_size * identity
            else:
                # A_i C A_i = a_i (a_i' C a_i) a_i'
                lengths = np.einsum("...ni,ni->...n", rows @ moment, rows)
                spread = share * ((rows.T * lengths[..., None, :]) @ rows / len(rows) - h @ moment @ h)
            # In this form the moment stays symmetric and positive where SGD diverges.
            kept = identity - lr * h
            moment = kept @ moment @ kept + lr**2 * spread
            losses.append(0.5 * np.einsum("ij,...ji->...", h, moment))
    return np.stack(losses)


def sign_losses(
    problem: NoisyQuadratic,
    start: Array,
    lrs: Array,
    batch_size: int,
    rng: np.random.Generator,
    *,
    paths: int = 64,
) -> tuple[Array, Array]:
    """Expected loss of sign descent by its diffusion limit.

    Args:
        problem: the quadratic.
        start: ``[d]``.
        lrs: learning rate of each step, ``[steps, ...]``; further dimensions are further runs.
        batch_size: ``B``.
        rng: the source of noise.
        paths: number of simulated paths that are averaged.

    Returns:
        Loss before every step and after the last, ``[steps + 1, ...]``, and the standard error of the mean.
    """
    runs = np.shape(lrs)[1:]
    points = np.broadcast_to(start, (paths, *runs, len(start))).copy()
    means, errors = [], []
    for step in [*lrs, None]:
        losses = problem.loss(points)
        means.append(losses.mean(axis=0))
        errors.append(losses.std(axis=0, ddof=1) / math.sqrt(paths))
        if step is None:
            break
        lr = np.asarray(step)[..., None]
        mean = expected_sign(points @ problem.hessian, problem.spread(points, batch_size), 1)
        jitter = np.sqrt(np.maximum(0.0, 1 - mean**2)) * rng.standard_normal(points.shape)
        points = points - lr * mean + lr * jitter
    return np.stack(means), np.stack(errors)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Tuned final losses of both methods at one batch size.

    Attributes:
        batch_size: ``B``.
        steps: optimizer steps.
        sgd: expected final loss of tuned SGD.
        sgd_lr: peak learning rate of tuned SGD.
        signsgd: expected final loss of tuned sign descent.
        signsgd_lr: peak learning rate of tuned sign descent.
        error: standard error of ``signsgd``.
    """

    batch_size: int
    steps: int
    sgd: float
    sgd_lr: float
    signsgd: float
    signsgd_lr: float
    error: float

    @property
    def gap(self) -> float:
        """Sign descent minus SGD; positive: SGD better."""
        return self.signsgd - self.sgd


def predict(
    problem: NoisyQuadratic,
    batch_size: int,
    multipliers: Array,
    *,
    sgd_lrs: Array,
    sign_lrs: Array,
    paths: int = 64,
    seed: int = 0,
) -> Prediction:
    """Tune both methods over grids of peak learning rates, starting from ``w = 1``.

    Args:
        problem: the quadratic.
        batch_size: ``B``.
        multipliers: learning rate of each step as a share of the peak, ``[steps]``.
        sgd_lrs: peak learning rates that SGD tries.
        sign_lrs: peak learning rates that sign descent tries.
        paths: simulated paths of sign descent.
        seed: seed of the simulation.

    Raises:
        ValueError: a batch of rows is larger than their number.
    """
    start = np.ones(len(problem.hessian))
    sgd = sgd_losses(problem, start, np.multiply.outer(multipliers, sgd_lrs), batch_size)[-1]
    sgd = np.where(np.isfinite(sgd) & (sgd >= 0), sgd, np.inf)
    losses, errors = sign_losses(
        problem, start, np.multiply.outer(multipliers, sign_lrs), batch_size, np.random.default_rng(seed), paths=paths
    )
    best, best_sign = int(np.argmin(sgd)), int(np.argmin(losses[-1]))
    return Prediction(
        batch_size=batch_size,
        steps=len(multipliers),
        sgd=float(sgd[best]),
        sgd_lr=float(sgd_lrs[best]),
        signsgd=float(losses[-1][best_sign]),
        signsgd_lr=float(sign_lrs[best_sign]),
        error=float(errors[-1][best_sign]),
    )
