"""The slowdown: the share of the budget that the better optimizer needs to reach the other's final loss.

It is read off the curve by which the optimizers are compared: the validation loss where that is the final loss, else
the train loss. No moving average enters, since one that starts at the first loss still holds it long after: the closest
falling sequence stands for the curve, which averages as many steps as the noise demands and no more.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from suite.analysis.monotone import monotone_fit
from suite.analysis.words import batch_sizes_text
from suite.records import Store, StoreError

LEAST_EVALUATIONS = 5
"""Fewest evaluations of a run between which its validation loss is interpolated."""

LAST_STEPS = 100
"""Steps at the end whose mean train loss is a run's final level, at most a tenth of them all."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """The loss of a run against the share of its budget.

    Attributes:
        shares: of the steps that were done, ascending up to 1, shape ``[points]``.
        losses: after these, shape ``[points]``.
        validation: whether they are validation losses.
    """

    shares: np.ndarray
    losses: np.ndarray
    validation: bool

    @property
    def final(self) -> float:
        """The loss at the end: the last validation loss, or the mean of the last train losses."""
        last = 1 if self.validation else max(1, min(LAST_STEPS, len(self.losses) // 10))
        return float(self.losses[-last:].mean())

    @functools.cached_property
    def falling(self) -> np.ndarray:
        """The closest falling sequence to the losses, shape ``[points]``."""
        return monotone_fit(self.losses, falling=True)

    def reached(self, target: float) -> float:
        """The share after which the falling sequence is at a target, interpolated; the last where it never is."""
        below = np.flatnonzero(self.falling <= target)
        first = int(below[0]) if len(below) else len(self.falling) - 1
        if first == 0 or self.falling[first - 1] == self.falling[first]:
            return float(self.shares[first])
        above, under = self.falling[first - 1], self.falling[first]
        part = float(np.clip((above - target) / (above - under), 0, 1))
        return float(self.shares[first - 1] + part * (self.shares[first] - self.shares[first - 1]))


CurveReader = Callable[[str, str], Curve | None]
"""Task and run id to the curve that is compared there; None where there is none."""


def curve_of(train: np.ndarray, measured: np.ndarray, *, validation: bool) -> Curve | None:
    """The curve of a run that is compared.

    Args:
        train: train loss of every step, shape ``[steps]``.
        measured: validation losses: of every step, NaN where none was measured; or, in another length, of evaluations
            at equal distances.
        validation: whether the validation loss is compared.

    Returns:
        None for a run without losses, with too few evaluations, or without one at the end.
    """
    losses = measured if validation else train
    places = np.flatnonzero(np.isfinite(losses))
    if not len(places) or places[-1] != len(losses) - 1 or (validation and len(places) < LEAST_EVALUATIONS):
        return None
    return Curve((places + 1) / len(losses), losses[places], validation)


def store_curves(store: Store, definitions: Mapping[str, str]) -> CurveReader:
    """A reader of the curves that are compared from a store.

    Args:
        store: where the curves are; those that cannot be read are named in ``store.problems``.
        definitions: of the final loss by task.
    """

    def read(task: str, run_id: str) -> Curve | None:
        try:
            table = store.curves(run_id)
        except (StoreError, OSError, pa.ArrowException) as error:
            store.name_problem(store.run_folder(run_id) / "curves.parquet", str(error))
            return None
        train, measured = (
            table.column(name).to_numpy().astype(float) if name in table.column_names else np.empty(0)
            for name in ("train_loss", "val/loss")
        )
        return curve_of(train, measured, validation=definitions[task] == "val")

    return read


def slowdown(better: Iterable[Curve | None], other: Iterable[Curve | None]) -> float:
    """The share of the budget after which the better optimizer has reached the other's final loss.

    Args:
        better: curves of its runs, one per seed.
        other: the other's.

    Returns:
        Between 0 and 1, interpolated between steps or evaluations; NaN where a curve is missing, or where the better
        optimizer does not end below the other on these curves.
    """
    curves, others = list(better), list(other)
    if not curves or not others or None in curves or None in others:
        return math.nan
    mean, target = (
        mean_curve([curve for curve in curves if curve]),
        float(np.mean([curve.final for curve in others if curve])),
    )
    if mean is None or mean.final > target:
        return math.nan
    return mean.reached(target)


def slowdowns(gaps: pd.DataFrame, tuned: pd.DataFrame, read: CurveReader) -> list[float]:
    """The slowdown at every row of a gap table; NaN also where there is no finite gap.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        tuned: the tuned points, see `suite.analysis.tuned.tuned_points`.
        read: reads the curves of their runs.
    """
    run_ids = {
        (point.task, point.optimizer, point.batch_size): point.run_ids for point in tuned.itertuples(index=False)
    }

    def curves(gap: Any, optimizer: str) -> list[Curve | None]:
        return [read(gap.task, run_id) for run_id in run_ids[gap.task, optimizer, gap.batch_size]]

    shares = []
    for gap in gaps.itertuples(index=False):
        better, other = (gap.challenger, gap.reference) if gap.gap > 0 else (gap.reference, gap.challenger)
        shares.append(slowdown(curves(gap, better), curves(gap, other)) if math.isfinite(gap.gap) else math.nan)
    return shares


def slowdown_sentences(gaps: pd.DataFrame, definitions: Mapping[str, str]) -> list[str]:
    """Where there is a gap but the slowdown is not computed, and why, a sentence for each way of comparing.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        definitions: of the final loss by task.
    """
    without = gaps[np.isfinite(gaps["gap"].to_numpy(dtype=float)) & gaps["slowdown"].isna().to_numpy()]
    by_validation = without["task"].map(lambda task: definitions[task] == "val").to_numpy(dtype=bool)
    reasons = (
        (
            by_validation,
            f"it takes {LEAST_EVALUATIONS} evaluations of the validation loss per run (data.eval_every_steps)",
        ),
        (~by_validation, "it takes the train losses of every run, lower at the end for the optimizer that is ahead"),
    )
    return [
        f"The slowdown is not computed at {batch_sizes_text(without.loc[rows, 'batch_size'])}: {reason}."
        for rows, reason in reasons
        if rows.any()
    ]


def mean_curve(curves: Sequence[Curve]) -> Curve | None:
    """The mean over seeds, where their points are the same; None where they differ."""
    shares = curves[0].shares
    if any(len(curve.shares) != len(shares) or not np.allclose(curve.shares, shares) for curve in curves):
        return None
    return Curve(shares, np.mean([curve.losses for curve in curves], axis=0), curves[0].validation)
