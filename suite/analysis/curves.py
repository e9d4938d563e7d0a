"""What the per-step train loss says beyond its final value: smoothed curve, minibatch noise, slowdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from suite.records import EMA_ALPHA, Store, StoreError

LossReader = Callable[[str], np.ndarray | None]
"""Run id to the train loss of every step (shape ``[steps]``), or None when there is no intact curve."""

NOISE_STEPS = round(1 / EMA_ALPHA)
"""Steps at the end of a run over which minibatch noise is measured: the memory of the moving average."""


def store_losses(store: Store) -> LossReader:
    """A reader of train losses from a store; curves that cannot be read are named in ``store.problems``."""

    def read(run_id: str) -> np.ndarray | None:
        try:
            return store.curves(run_id).column("train_loss").to_numpy()
        except (StoreError, KeyError, OSError, pa.ArrowException) as error:
            store.problems.append((str(store.run_folder(run_id) / "curves.parquet"), str(error)))
            return None

    return read


def ema(losses: np.ndarray) -> np.ndarray:
    """Exponential moving average of a loss curve, started at its first value (paper 1, figures 1-7).

    Args:
        losses: shape ``[steps]``.

    Returns:
        Shape ``[steps]``; the last value is the final loss ``ema`` of `suite.records.final_losses`.
    """
    return pd.Series(losses, dtype=float).ewm(alpha=EMA_ALPHA, adjust=False).mean().to_numpy()


def mean_ema(run_ids: Iterable[str], losses: LossReader) -> np.ndarray | None:
    """Smoothed curve of a tuned point: mean over its seeds, cut to the shortest; None without curves."""
    curves = [ema(curve) for curve in map(losses, run_ids) if curve is not None and len(curve)]
    if not curves:
        return None
    steps = min(map(len, curves))
    return np.mean([curve[:steps] for curve in curves], axis=0)


def final_noise(losses: Sequence[float] | np.ndarray, final_loss: str = "ema") -> float:
    """Standard deviation that minibatch noise leaves in a run's final loss.

    The spread of the per-step loss over the last `NOISE_STEPS` steps is taken as independent from step to
    step. An exponential moving average of weight alpha keeps ``sqrt(alpha / (2 - alpha))`` of it, a mean
    over n steps ``1 / sqrt(n)``, a minimum keeps all of it. A validation loss has none: all runs are
    measured on the same samples, and it differs only between seeds.

    Args:
        losses: train loss of every step, shape ``[steps]``.
        final_loss: name of the definition, as in `suite.records.final_losses`.

    Returns:
        The same unit as the loss; NaN with fewer than two steps.
    """
    tail = np.asarray(losses[-NOISE_STEPS:], dtype=float)
    if len(tail) < 2:
        return math.nan
    kept = {
        "ema": math.sqrt(EMA_ALPHA / (2 - EMA_ALPHA)),
        "mean_last_100": 1 / math.sqrt(len(tail)),
        "mean_last_1pct": 1 / math.sqrt(max(1, len(losses) // 100)),
        "val": 0.0,
    }
    return float(np.std(tail, ddof=1)) * kept.get(final_loss, 1.0)


def slowdown(better: np.ndarray, other: np.ndarray) -> float:
    """Share of the budget that the better optimizer needs to reach the other's final loss.

    Args:
        better: smoothed curve of the better optimizer, shape ``[steps]``.
        other: smoothed curve of the other one.

    Returns:
        Between 0 and 1: the first step whose smoothed loss is at most the other's last one, counted from 1,
        over all steps. NaN when the curve never gets there (the final loss is then not the moving
        average's).
    """
    reached = np.flatnonzero(better <= other[-1])
    return float((reached[0] + 1) / len(better)) if len(reached) else math.nan
