"""The per-step train loss beyond its final value: the smoothed curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from suite.records import EMA_ALPHA, Store, StoreError

LossReader = Callable[[str], np.ndarray | None]
"""Run id to the train loss of every step (shape ``[steps]``), or None when there is no intact curve."""


def store_losses(store: Store) -> LossReader:
    """A reader of train losses from a store; curves that cannot be read are named in ``store.problems``."""

    def read(run_id: str) -> np.ndarray | None:
        try:
            return store.curves(run_id).column("train_loss").to_numpy()
        except (StoreError, KeyError, OSError, pa.ArrowException) as error:
            store.name_problem(store.run_folder(run_id) / "curves.parquet", str(error))
            return None

    return read


def train_seconds(runs: pd.DataFrame) -> dict[str, float]:
    """Seconds of training by run, of a table of runs; empty where they are not known."""
    if "train_seconds" not in runs:
        return {}
    return dict(zip(runs["run_id"], runs["train_seconds"].astype(float), strict=True))


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
