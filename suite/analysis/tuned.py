"""Tuned points: the best final loss of an optimizer at a batch size, and whether its grid can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.searched import excess_of_search
from suite.analysis.surface import Excess, Tried, excess_of
from suite.analysis.table import STATUSES, Lattice
from suite.analysis.verdict import SURFACE_FREEDOM, Interval, errors_of_means
from suite.records import SETTLED
from suite.records.tuning import Setting, Trial, axes_of, edges, ranked

Edges = tuple[tuple[str, str], ...]
"""Axes whose best value is the ``smallest`` or ``largest`` tried, as ``(axis, which)`` pairs."""

POINT = ["task", "optimizer", "batch_size"]

_SIDES = {"low": "smallest", "high": "largest"}


@dataclass(frozen=True)
class SettingResult:
    """The results of all seeds of one setting.

    Attributes:
        setting: the tried values.
        loss: mean over the seeds that have a result; +inf when one of them diverged.
        spread: standard deviation over seeds; NaN with one seed or a diverged one.
        run_ids: the runs that have a result, one per seed.
        losses: theirs, by seed.
    """

    setting: Setting
    loss: float
    spread: float
    run_ids: tuple[str, ...]
    losses: Mapping[int, float]

    @property
    def seeds(self) -> int:
        """How many results the loss averages."""
        return len(self.run_ids)


@dataclass(frozen=True, kw_only=True)
class TunedPoint:
    """One row of `tuned_points`, less its key and its counts per status.

    Attributes:
        loss: the tuned loss: with several seeds ``mean_loss - excess`` (``+ luck`` where it is not ``apart``), with one
            that seed's; +inf when all diverged, NaN without any result.
        setting: the setting with the lowest loss.
        run_ids: the runs that ``mean_loss`` averages.
        seeds: how many they are.
        seed_losses: their losses, by seed.
        mean_loss: mean over the reporting seeds, or where there are none over those that chose.
        selection_loss: lowest loss over the settings, on the seeds that chose; below the truth on average, because
            the luckiest of several settings won.
        apart: whether ``mean_loss`` comes from seeds that had no part in choosing.
        excess: how far the setting is estimated to lie above the best one; see `suite.analysis.surface`.
        luck: how far below the surface the setting was chosen.
        surface_error: standard error of both; 0 where the grid tells nothing of them.
        surface_freedom: its degrees of freedom.
        spread: standard deviation over seeds.
        seed_spread: the same, moderated by other batch sizes (`suite.analysis.verdict.moderated`).
        error: standard error of the tuned loss; NaN where nothing tells it.
        freedom: degrees of freedom behind it.
        uncertainty: half the 95% interval of the tuned loss.
        edges: axes whose best value is at an end of what was tried.
        untuned: axes with a single value.
        provisional: some planned runs have no result.
        steps: optimizer steps of its runs.
    """

    loss: float = math.nan
    setting: Setting = ()
    run_ids: tuple[str, ...] = ()
    seeds: int = 0
    seed_losses: Mapping[int, float] = field(default_factory=dict)
    mean_loss: float = math.nan
    selection_loss: float = math.nan
    apart: bool = False
    excess: float = 0.0
    luck: float = 0.0
    surface_error: float = 0.0
    surface_freedom: float = SURFACE_FREEDOM
    spread: float = math.nan
    seed_spread: float = math.nan
    error: float = math.nan
    freedom: float = 0.0
    uncertainty: float = math.nan
    edges: Edges = ()
    untuned: tuple[str, ...] = ()
    provisional: bool
    steps: int


def tuned_points(runs: pd.DataFrame) -> pd.DataFrame:
    """The tuned point of every task, optimizer and batch size.

    A setting's loss is the mean over its seeds, and a diverged seed makes it infinite. The tuned point is the setting
    with the lowest loss over the seeds that the settings share, see `suite.records.tuning.ranked`. Where that setting
    was trained again with reporting seeds, they alone give the point's loss: a loss that was chosen for being low is
    low partly by luck. Where there are none, the luck is estimated. Either way what the grid's coarseness costs is
    estimated too, and both are taken off; with a single seed nothing is.

    Args:
        runs: one row per run; see `suite.analysis.table`.

    Returns:
        One row per point, tasks and optimizers in the order of ``runs``, batch sizes ascending: ``task``,
        ``optimizer``, ``batch_size``, the attributes of `TunedPoint`, and a count per status.
    """
    rows = []
    for key, group in runs.groupby(POINT, sort=False):
        counts = group["status"].value_counts()
        point = vars(_tuned_point(group))
        rows.append(dict(zip(POINT, key, strict=True)) | point | {name: int(counts.get(name, 0)) for name in STATUSES})
    columns = [*POINT, *TunedPoint.__dataclass_fields__, *STATUSES]
    tasks, optimizers = (list(runs[name].drop_duplicates()) for name in ("task", "optimizer"))
    rows.sort(key=lambda row: (tasks.index(row["task"]), row["batch_size"], optimizers.index(row["optimizer"])))
    points = pd.DataFrame(rows, columns=columns)
    for _, series in points.groupby(["task", "optimizer"], sort=False):
        _fill_in_errors(points, series)
    return points


def setting_results(group: pd.DataFrame) -> list[SettingResult]:
    """The results of every setting of one optimizer at one batch size, in the order of the runs.

    Args:
        group: runs of one task, optimizer and batch size.

    Returns:
        The settings that have at least one result.
    """
    columns = (group[name].tolist() for name in ("status", "setting", "run_id", "seed", "loss"))
    by_setting: dict[Setting, list[tuple[str, int, float]]] = {}
    for status, setting, *run in zip(*columns, strict=True):
        if status in SETTLED:
            by_setting.setdefault(setting, []).append(tuple(run))
    by_count: dict[int, list[Setting]] = {}
    for setting, seeds in by_setting.items():
        by_count.setdefault(len(seeds), []).append(setting)
    results = {}
    for count, settings in by_count.items():
        values = np.array([[loss for _, _, loss in by_setting[setting]] for setting in settings], dtype=float)
        with np.errstate(invalid="ignore"):  # a diverged seed is infinite
            spreads = np.std(values, axis=1, ddof=1) if count > 1 else np.full(len(values), math.nan)
        for setting, mean, spread in zip(settings, values.mean(axis=1).tolist(), spreads.tolist(), strict=True):
            ids = tuple(run_id for run_id, _, _ in by_setting[setting])
            losses = {seed: loss for _, seed, loss in by_setting[setting]}
            results[setting] = SettingResult(setting, mean, spread if math.isfinite(mean) else math.nan, ids, losses)
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


def _tuned_point(group: pd.DataFrame) -> TunedPoint:
    facts: dict[str, Any] = {
        "provisional": bool((~group["status"].isin(SETTLED)).any()),
        "steps": int(group["steps"].max()),
    }
    setting = tuned_setting(group)
    if setting is None:
        return TunedPoint(**facts)
    results = {result.setting: result for result in setting_results(choosing(group))}
    best = results[setting]
    lattice: Lattice = group["lattice"].iloc[0] if "lattice" in group else ()
    reached = _reached(lattice) or list(results)
    again = group["reporting"] & group["setting"].map(setting.__eq__)
    reported = next(iter(setting_results(group[again])), None) or best
    facts |= {
        "loss": reported.loss,
        "setting": setting,
        "seeds": reported.seeds,
        "mean_loss": reported.loss,
        "selection_loss": best.loss,
        "apart": reported is not best,
        "untuned": tuple(name for name, values in axes_of(reached) if len(values) < 2),
        "edges": tuple((name, _SIDES[side]) for name, side in edges(setting, reached)),
    }
    if not math.isfinite(reported.loss):
        return TunedPoint(**facts)
    facts |= {"run_ids": reported.run_ids, "seed_losses": reported.losses, "spread": reported.spread}
    surface = _surface(best, list(results.values()), reported, lattice)
    if surface is not None:
        facts |= {"excess": surface.loss, "luck": surface.luck}
        if reported.seeds > 1:
            taken_off = surface.loss - (0.0 if reported is not best else surface.luck)
            facts |= {"loss": reported.loss - taken_off, "surface_error": surface.error}
            facts["surface_freedom"] = min(surface.freedom, SURFACE_FREEDOM)
    return TunedPoint(**facts)


def _reached(lattice: Lattice) -> list[Setting]:
    """Settings that have every value of a lattice between them: a search asks its surface about all of them."""
    return [((name, value),) for name, values in lattice for value in values]


def _surface(
    best: SettingResult, results: Sequence[SettingResult], reported: SettingResult, lattice: Lattice
) -> Excess | None:
    """What the choice of the best setting costs; the spread between reporting seeds where the grid tells no noise."""
    tried = {
        result.setting: Tried(setting=result.setting, loss=result.loss, seeds=result.seeds, variance=result.spread**2)
        for result in results
    }
    if not math.isfinite(best.loss):
        return None
    if lattice:
        return excess_of_search(tried[best.setting], list(tried.values()), lattice)
    return excess_of(tried[best.setting], list(tried.values()), between_seeds=(reported.spread**2, reported.seeds - 1))


def _fill_in_errors(points: pd.DataFrame, series: pd.DataFrame) -> None:
    """Write the errors of one optimizer's points over batch sizes; their spreads moderate each other."""
    errors, freedoms, variances = errors_of_means(
        np.square(series["spread"].to_numpy(dtype=float)),
        series["seeds"].to_numpy(dtype=float),
        series["surface_error"].to_numpy(dtype=float),
        series["surface_freedom"].to_numpy(dtype=float),
    )
    is_finite = np.isfinite(series["loss"].to_numpy(dtype=float))
    errors, variances = np.where(is_finite, errors, math.nan), np.where(is_finite, variances, math.nan)
    halves = [
        Interval(estimate=0.0, error=error, freedom=freedom).half_width()
        for error, freedom in zip(errors.tolist(), freedoms.tolist(), strict=True)
    ]
    columns = {"error": errors, "freedom": freedoms, "seed_spread": np.sqrt(variances), "uncertainty": halves}
    for name, values in columns.items():
        points.loc[series.index, name] = values
