"""Tuned points: the best final loss of an optimizer at a batch size, and whether its grid can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.curves import LossReader, final_noise
from suite.analysis.table import STATUSES
from suite.records import SETTLED
from suite.records.tuning import Setting, Trial, axes_of, edges, is_ordered, ranked

Edges = tuple[tuple[str, str], ...]
"""Axes whose best value is the ``smallest`` or ``largest`` tried, as ``(axis, which)`` pairs."""

POINT = ["task", "optimizer", "batch_size"]

_SIDES = {"low": "smallest", "high": "largest"}

NEAR = 0.05
"""The spread between seeds is pooled over the settings at most this share above the best loss: the few seeds of one
setting estimate it poorly, and settings far from the best have other spreads."""


@dataclass(frozen=True)
class SettingResult:
    """The results of all seeds of one setting.

    Attributes:
        setting: the tried values.
        loss: mean over the seeds that have a result; +inf when one of them diverged.
        spread: standard deviation over seeds; NaN with one seed or a diverged one.
        run_ids: the runs that have a result, one per seed.
        noise: mean of the runs' noise column.
    """

    setting: Setting
    loss: float
    spread: float
    run_ids: tuple[str, ...]
    noise: float

    @property
    def seeds(self) -> int:
        """How many results the loss averages."""
        return len(self.run_ids)


@dataclass(frozen=True, kw_only=True)
class TunedPoint:
    """One row of `tuned_points`, less its key and its counts per status.

    Attributes:
        loss: lowest loss over the settings, or where the setting was trained again with reporting seeds, the mean
            over those; +inf when all diverged, NaN without any result.
        setting: the setting with the lowest loss.
        run_ids: the runs that ``loss`` averages.
        seeds: how many they are.
        selection_loss: lowest loss over the settings, on the seeds that chose; below the truth on average, because
            the luckiest of several settings won.
        apart: whether ``loss`` comes from seeds that had no part in choosing.
        spread: standard deviation over seeds.
        seed_spread: standard deviation over seeds, pooled over the settings `NEAR` the best; NaN with one seed.
        noise: standard deviation of the loss from minibatch noise.
        grid: half the difference in loss to the best neighbour on the grid.
        uncertainty: see `suite.analysis.gap`.
        edges: axes whose best value is at an end of what was tried.
        untuned: axes with a single value.
        provisional: some planned runs have no result.
        steps: optimizer steps of its runs.
    """

    loss: float = math.nan
    setting: Setting = ()
    run_ids: tuple[str, ...] = ()
    seeds: int = 0
    selection_loss: float = math.nan
    apart: bool = False
    spread: float = math.nan
    seed_spread: float = math.nan
    noise: float = math.nan
    grid: float = math.nan
    uncertainty: float = math.nan
    edges: Edges = ()
    untuned: tuple[str, ...] = ()
    provisional: bool
    steps: int


def tuned_points(
    runs: pd.DataFrame,
    losses: LossReader | None = None,
    final_loss: str = "ema",
    panel_losses: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The tuned point of every task, optimizer and batch size.

    A setting's loss is the mean over its seeds, and a diverged seed makes it infinite. The tuned point is the setting
    with the lowest loss over the seeds that the settings share, see `suite.records.tuning.ranked`. Where that setting
    was trained again with reporting seeds, they alone give the point's loss: a loss that was chosen for being low is
    low partly by luck.

    Args:
        runs: one row per run; see `suite.analysis.table`.
        losses: reads the curves of the tuned points, for the noise of single-seed results. Without it the noise
            comes from the column ``noise``.
        final_loss: definition of the final loss in ``runs``, for the noise.
        panel_losses: definition by task, of tasks with another one.

    Returns:
        One row per point, tasks and optimizers in the order of ``runs``, batch sizes ascending: ``task``,
        ``optimizer``, ``batch_size``, the attributes of `TunedPoint`, and a count per status.
    """
    rows = []
    for key, group in runs.groupby(POINT, sort=False):
        counts = group["status"].value_counts()
        definition = (panel_losses or {}).get(key[0], final_loss)
        point = vars(_tuned_point(group, losses, definition))
        rows.append(dict(zip(POINT, key, strict=True)) | point | {name: int(counts.get(name, 0)) for name in STATUSES})
    columns = [*POINT, *TunedPoint.__dataclass_fields__, *STATUSES]
    tasks, optimizers = (list(runs[name].drop_duplicates()) for name in ("task", "optimizer"))
    rows.sort(key=lambda row: (tasks.index(row["task"]), row["batch_size"], optimizers.index(row["optimizer"])))
    return pd.DataFrame(rows, columns=columns)


def setting_results(group: pd.DataFrame) -> list[SettingResult]:
    """The results of every setting of one optimizer at one batch size, in the order of the runs.

    Args:
        group: runs of one task, optimizer and batch size.

    Returns:
        The settings that have at least one result.
    """
    columns = (group[name].tolist() for name in ("status", "setting", "run_id", "loss", "noise"))
    by_setting: dict[Setting, list[tuple[str, float, float]]] = {}
    for status, setting, *run in zip(*columns, strict=True):
        if status in SETTLED:
            by_setting.setdefault(setting, []).append(tuple(run))
    by_count: dict[int, list[Setting]] = {}
    for setting, seeds in by_setting.items():
        by_count.setdefault(len(seeds), []).append(setting)
    results = {}
    for count, settings in by_count.items():
        numbers = np.array([[run[1:] for run in by_setting[setting]] for setting in settings], dtype=float)
        values, noises = np.ascontiguousarray(numbers[..., 0]), np.ascontiguousarray(numbers[..., 1])
        with np.errstate(invalid="ignore"):  # a diverged seed is infinite
            spreads = np.std(values, axis=1, ddof=1) if count > 1 else np.full(len(values), math.nan)
        for setting, mean, spread, noise in zip(
            settings, values.mean(axis=1).tolist(), spreads.tolist(), noises.mean(axis=1).tolist(), strict=True
        ):
            ids = tuple(run[0] for run in by_setting[setting])
            results[setting] = SettingResult(setting, mean, spread if math.isfinite(mean) else math.nan, ids, noise)
    return [results[setting] for setting in by_setting]


def lowest_losses(group: pd.DataFrame, axes: Sequence[str]) -> dict[tuple[Any, ...], float]:
    """Lowest loss at the values of some axes, with the other axes at their best.

    Args:
        group: runs of one task, optimizer and batch size.
        axes: their names; settings that lack one are left out.
    """
    losses: dict[tuple[Any, ...], float] = {}
    for result in setting_results(group):
        values = dict(result.setting)
        if all(name in values for name in axes):
            spot = tuple(values[name] for name in axes)
            losses[spot] = min(result.loss, losses.get(spot, math.inf))
    return losses


def choosing(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs by which the tuned setting is chosen: all but those with reporting seeds."""
    return runs[~runs["reporting"]]


def tuned_setting(group: pd.DataFrame) -> Setting | None:
    """The setting that the runs of one task, optimizer and batch size choose; None without any result."""
    columns = (group[name].tolist() for name in ("setting", "seed", "loss", "reporting"))
    return next(iter(ranked(map(Trial, *columns))), None)


def _tuned_point(group: pd.DataFrame, losses: LossReader | None, final_loss: str) -> TunedPoint:
    facts: dict[str, Any] = {
        "provisional": bool((~group["status"].isin(SETTLED)).any()),
        "steps": int(group["steps"].max()),
    }
    setting = tuned_setting(group)
    if setting is None:
        return TunedPoint(**facts)
    results = {result.setting: result for result in setting_results(choosing(group))}
    best = results[setting]
    again = group["reporting"] & group["setting"].map(setting.__eq__)
    reported = next(iter(setting_results(group[again])), None) or best
    facts |= {
        "loss": reported.loss,
        "setting": setting,
        "seeds": reported.seeds,
        "selection_loss": best.loss,
        "apart": reported is not best,
        "untuned": tuple(name for name, values in axes_of(results) if len(values) < 2),
        "edges": tuple((name, _SIDES[side]) for name, side in edges(setting, results)),
    }
    if not math.isfinite(reported.loss):
        return TunedPoint(**facts)
    noise = _noise(reported, losses, final_loss)
    grid = _grid_error(best, results)
    from_runs = reported.spread / math.sqrt(reported.seeds) if reported.seeds > 1 else noise
    parts = [part for part in (from_runs, grid) if math.isfinite(part)]
    return TunedPoint(
        **facts,
        run_ids=reported.run_ids,
        spread=reported.spread,
        seed_spread=_seed_spread(best, [*results.values(), reported]),
        noise=noise,
        grid=grid,
        uncertainty=math.hypot(*parts) if parts else math.nan,
    )


def _seed_spread(best: SettingResult, results: Sequence[SettingResult]) -> float:
    """Standard deviation over seeds, pooled over the settings near the best one."""
    limit = best.loss + NEAR * abs(best.loss)
    near = {
        result.run_ids: result
        for result in results
        if math.isfinite(result.spread) and (result.loss <= limit or result.setting == best.setting)
    }.values()
    freedom = sum(result.seeds - 1 for result in near)
    return math.sqrt(sum((r.seeds - 1) * r.spread**2 for r in near) / freedom) if freedom else math.nan


def _noise(best: SettingResult, losses: LossReader | None, final_loss: str) -> float:
    if losses is None:
        return best.noise
    curves = [curve for curve in map(losses, best.run_ids) if curve is not None]
    return float(np.mean([final_noise(curve, final_loss) for curve in curves])) if curves else math.nan


def _grid_error(best: SettingResult, results: Mapping[Setting, SettingResult]) -> float:
    """Half the difference in loss between the best setting and the best of its neighbours (one step on one axis)."""
    chosen = dict(best.setting)
    neighbours = []
    for name, values in axes_of(results):
        if name not in chosen or not is_ordered(values):
            continue
        at = values.index(chosen[name])
        for value in values[max(0, at - 1) : at] + values[at + 1 : at + 2]:
            neighbour = results.get(tuple((axis, value if axis == name else kept) for axis, kept in best.setting))
            neighbours += [] if neighbour is None or not math.isfinite(neighbour.loss) else [neighbour.loss]
    # A neighbour with fewer seeds can lie below the tuned point; the distance still measures coarseness.
    return abs(min(neighbours) - best.loss) / 2 if neighbours else math.nan
