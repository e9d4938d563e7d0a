"""Steps and tokens to a target loss: how soon does each tuned optimizer reach it, and who is sooner?

The curve of a tuned point is the mean over its seeds of the loss that is compared (validation losses between
evaluations, else train losses), its noise averaged by the closest falling sequence; the target is reached where that
sequence is at it (`suite.analysis.slowdown`). The interval of the steps comes from that of the mean loss there, by
Student's t over the seeds, whose spread is moderated by other batch sizes (`suite.analysis.verdict`): its ends are the
steps at which the curve is at the target plus and minus half that interval. The upper end is infinite where the curve
never is.

**Target.** The sweep's ``target``, or one given on the command line. Where there is none: the final loss of the worst
tuned point of the task, which every optimizer reaches at every batch size.

**Who is sooner.** The ratio of two optimizers' steps has an interval by the method of variance estimates recovery
(Zou & Donner 2008, on logarithms); one is *sooner* at a batch size when that excludes 1 at 95%, alone.

A run's schedule is made for its whole budget: a target that is reached early was not trained for. What it takes when
the budget is made for the target is another question, which sweeps of several budgets answer (`retrained_table`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from suite.analysis.gap import pair_optimizers
from suite.analysis.slowdown import LEAST_EVALUATIONS, Curve, CurveReader, mean_curve
from suite.analysis.verdict import LEVEL, Interval, errors_of_means
from suite.analysis.words import batch_sizes_text, listed, optimizer_title, plain_number

Outcome = Literal["reached", "at most", "not reached", "diverged", "no curve", "no result"]
"""``at most``: at the first evaluation, or the smallest budget, the target was reached already."""

COLUMNS = [
    "task", "optimizer", "batch_size", "target", "given", "outcome",
    "steps", "steps_low", "steps_high", "samples", "tokens", "share", "seconds", "seeds", "edges",
    "reference", "ratio", "ratio_low", "ratio_high", "sooner",
]  # fmt: skip


def target_table(
    runs: pd.DataFrame, tuned: pd.DataFrame, read: CurveReader, targets: Mapping[str, float]
) -> pd.DataFrame:
    """Steps, samples, tokens and seconds of training to the target at every tuned point.

    Args:
        runs: see `suite.analysis.table`.
        tuned: see `suite.analysis.tuned.tuned_points`.
        read: reads the curves that are compared.
        targets: loss by task; a task without one has the default of this module.

    Returns:
        One row per point of ``tuned``, in its order. ``given``: whether the target was given. ``outcome``: see
        `Outcome`; without ``reached`` or ``at most`` there are no steps. ``steps_low`` and ``steps_high`` end the 95%
        interval, infinite where that goes on past the budget; ``share`` is of the budget; ``tokens`` is NaN for what
        has none; ``seconds`` of training, in a pack the run's share of the pack's. ``ratio``: the ``reference``'s steps
        by this optimizer's at the batch size, above 1 where this one is sooner; ``sooner`` names the optimizer that is,
        or None.
    """
    rows: list[dict[str, Any]] = []
    for task, points in tuned.groupby("task", sort=False):
        curves = {index: _curves(point, read) for index, point in points.iterrows()}
        means = {index: mean_curve(of_seeds) if of_seeds else None for index, of_seeds in curves.items()}
        target = targets.get(str(task), _worst(means.values()))
        of_task = runs[runs["task"] == task]
        for _, series in points.groupby("optimizer", sort=False):
            rows += _series(series, curves, means, target, of_task, is_given=str(task) in targets)
    table = pd.DataFrame(rows, columns=COLUMNS[: COLUMNS.index("reference")])
    order = {key: index for index, key in enumerate(zip(*(tuned[name] for name in COLUMNS[:3]), strict=True))}
    table = table.iloc[sorted(range(len(table)), key=lambda n: order[tuple(table.loc[n, COLUMNS[:3]])])]
    return with_ratios(table.reset_index(drop=True))


def with_target(plan: Mapping[str, Any], target: float | None) -> dict[str, Any]:
    """A plan whose target loss is another one in all panels; None: the plan's own."""
    return {**plan, **({} if target is None else {"targets": {"": target}})}


def targets_of(plan: Mapping[str, Any], tasks: Iterable[str]) -> dict[str, float]:
    """The target losses that a plan gives, by task: that of the panel, else that of all panels."""
    losses = plan.get("targets") or {}
    return {task: float(losses[key]) for task in tasks for key in ("", task) if key in losses}


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add who is sooner than the reference (Adam, else the first optimizer of the task) at every batch size.

    Args:
        table: the columns up to ``edges`` of `COLUMNS`.
    """
    added: dict[Any, dict[str, Any]] = {}
    for _, rows in table.groupby("task", sort=False):
        pairs = pair_optimizers(list(rows["optimizer"].drop_duplicates()))
        reference = pairs[0][0] if pairs else None
        at = {row.batch_size: row for row in rows[rows["optimizer"] == reference].itertuples()}
        for row in rows.itertuples():
            other = at.get(row.batch_size)
            apart = other is not None and row.optimizer != reference
            nothing = {**dict.fromkeys(COLUMNS[-4:-1], math.nan), "sooner": None}
            added[row.Index] = {"reference": reference} | (_ratio(other, row) if apart else nothing)
    columns = pd.DataFrame.from_dict(added, orient="index", columns=COLUMNS[-5:]).reindex(table.index)
    columns["sooner"] = columns["sooner"].astype(object).where(columns["sooner"].notna(), None)
    return pd.concat([table, columns], axis=1)


def quotient(over: tuple[float, float, float], under: tuple[float, float, float]) -> tuple[float, float, float]:
    """A ratio of two independent positive estimates with its interval (Zou & Donner 2008, on logarithms).

    Args:
        over: estimate, lower and upper end of the numerator's interval; an end may be 0, infinite or NaN.
        under: the denominator's.

    Returns:
        The ratio and the ends of its interval; NaN where either interval is not known.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = np.log(np.array(over)), np.log(np.array(under))
        middle = one[0] - other[0]
        low = middle - np.hypot(one[0] - one[1], other[2] - other[0])
        high = middle + np.hypot(one[2] - one[0], other[0] - other[1])
        ratio, least, most = np.exp([middle, low, high])
    return float(ratio), float(least), float(most)


def _ratio(reference: Any, row: Any) -> dict[str, Any]:
    ends = [(float(x.steps), float(x.steps_low), float(x.steps_high)) for x in (reference, row)]
    values = quotient(*ends)
    is_sooner, is_later = values[1] > 1, values[2] < 1
    if (reference.outcome, row.outcome) != ("reached", "reached"):  # no ratio, and perhaps no doubt
        values = (math.nan,) * 3
        is_sooner, is_later = ends[1][2] < ends[0][1], ends[0][2] < ends[1][1]
    sooner = row.optimizer if is_sooner else reference.optimizer if is_later else None
    return dict(zip(("ratio", "ratio_low", "ratio_high"), values, strict=True)) | {"sooner": sooner}


def _curves(point: Any, read: CurveReader) -> list[Curve]:
    """The curves of a point's runs; none where one is missing."""
    curves = [read(str(point["task"]), run_id) for run_id in point["run_ids"]]
    return [curve for curve in curves if curve] if None not in curves else []


def _worst(means: Iterable[Curve | None]) -> float:
    """The final loss of the worst tuned point; NaN without any curve."""
    return max((curve.final for curve in means if curve is not None), default=math.nan)


def _series(
    series: pd.DataFrame,
    curves: Mapping[Any, Sequence[Curve]],
    means: Mapping[Any, Curve | None],
    target: float,
    runs: pd.DataFrame,
    *,
    is_given: bool,
) -> list[dict[str, Any]]:
    """The rows of one optimizer over batch sizes, whose spreads moderate each other."""
    shares = {
        index: curve.reached(target)
        for index in series.index
        if (curve := means[index]) is not None and curve.final <= target
    }
    variances = np.array([_variance(curves[index], shares.get(index, 1.0)) for index in series.index])
    seeds = series["seeds"].to_numpy(dtype=float)
    errors, freedoms, _ = errors_of_means(variances, np.maximum(seeds, 1), np.zeros(len(series)))
    rows = []
    for number, (index, point) in enumerate(series.iterrows()):
        half = Interval(estimate=0.0, error=float(errors[number]), freedom=float(freedoms[number])).half_width()
        outcome, share, low, high = _reached(point, means[index], shares.get(index), target, half)
        of_point = runs[runs["run_id"].isin(point["run_ids"])]
        samples = float(point["steps"]) * float(point["batch_size"])
        rows.append(
            {name: point[name] for name in ("task", "optimizer", "batch_size", "seeds", "edges")}
            | {"target": target, "given": is_given, "outcome": outcome, "share": share}
            | dict(
                zip(("steps", "steps_low", "steps_high"), (x * point["steps"] for x in (share, low, high)), strict=True)
            )
            | {"samples": share * samples, "tokens": share * samples * tokens_of(of_point)}
            | {"seconds": share * _seconds(of_point)}
        )
    return rows


def _variance(curves: Sequence[Curve], share: float) -> float:
    """Variance between seeds of the loss after a share of the budget; NaN with one seed."""
    if len(curves) < 2:
        return math.nan
    return float(np.var([np.interp(share, curve.shares, curve.falling) for curve in curves], ddof=1))


def _reached(
    point: Any, curve: Curve | None, share: float | None, target: float, half: float
) -> tuple[Outcome, float, float, float]:
    """What became of a point, and after which share it is at the target, with the ends of the interval."""
    nothing = (math.nan,) * 3
    if math.isnan(point["loss"]):
        return "no result", *nothing
    if math.isinf(point["loss"]):
        return "diverged", *nothing
    if curve is None or math.isnan(target):
        return "no curve", *nothing
    last = float(curve.falling[-1])
    # Either end of the loss's interval, as the share after which the curve is there.
    low, high = (curve.reached(level) if level >= last else math.inf for level in (target + half, target - half))
    if math.isnan(half):
        low = high = math.nan
    if share is None:
        return "not reached", math.nan, low, high if math.isnan(high) else math.inf
    first = float(curve.shares[0])
    outcome: Outcome = "at most" if share <= first and len(curve.shares) > 1 else "reached"
    return outcome, share, 0.0 if low <= first else low, high


def tokens_of(runs: pd.DataFrame) -> float:
    """Tokens in a sample of these runs; NaN for what has none."""
    lengths = runs["tokens_per_sample"].dropna() if "tokens_per_sample" in runs else pd.Series(dtype=float)
    return float(lengths.iloc[0]) if len(lengths) else math.nan


def _seconds(runs: pd.DataFrame) -> float:
    return float(runs["train_seconds"].mean()) if "train_seconds" in runs and len(runs) else math.nan


def target_sentences(table: pd.DataFrame, default: str = "the final loss of the worst tuned point") -> list[str]:
    """The target, where it was not reached, and who is sooner at which batch sizes; a sentence of each for every task.

    Args:
        table: see `target_table`.
        default: what a target is that was not given.
    """
    sentences, several = [], table["task"].nunique() > 1
    for task, rows in table.groupby("task", sort=False):
        where = f"{task}: " if several else ""
        target = float(rows["target"].iloc[0])
        if math.isnan(target):
            sentences.append(f"{where}no target loss, for no tuned point has a curve that says when it was reached.")
            continue
        whose = "" if rows["given"].iloc[0] else f" ({default})"
        sentences.append(f"{where}target loss {plain_number(target)}{whose}.")
        without = rows[~rows["outcome"].isin(["reached", "at most"])]
        parts = [
            f"{optimizer_title(str(optimizer))} at {batch_sizes_text(of_one['batch_size'])} ({_NOT[str(outcome)]})"
            for (optimizer, outcome), of_one in without.groupby(["optimizer", "outcome"], sort=False)
        ]
        sentences += [f"{where}without steps to it: {listed(parts)}."] if parts else []
        sooner = rows[rows["sooner"].notna()]
        for (optimizer, other), of_pair in _pairs(sooner).groupby(["sooner", "other"], sort=False):
            sentences.append(
                f"{where}{optimizer_title(str(optimizer))} is there sooner than {optimizer_title(str(other))} at "
                f"{batch_sizes_text(of_pair['batch_size'])} (each at {LEVEL:.0%} alone)."
            )
    return sentences


_NOT = {
    "not reached": "not reached",
    "diverged": "every setting diverged",
    "no curve": f"no curve that tells; of the validation loss it takes {LEAST_EVALUATIONS} evaluations",
    "no result": "no result",
}


def _pairs(sooner: pd.DataFrame) -> pd.DataFrame:
    """The rows with the one that is later, ``other``."""
    other = np.where(sooner["sooner"] == sooner["optimizer"], sooner["reference"], sooner["optimizer"])
    return sooner.assign(other=other)
