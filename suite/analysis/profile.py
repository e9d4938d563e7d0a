"""Performance profiles over tasks: on which share of them is an optimizer within a factor of the soonest?

A *workload* is one task at one batch size with its target loss (`suite.analysis.target`). An optimizer's factor there
is its steps to the target over the fewest of any, infinite where it never reaches it; at one batch size the factors of
steps, samples and tokens are the same. The profile is the share of workloads with a factor of at most tau, from 1 to
`MOST`, and its *score* the mean of that share over tau (Dahl et al. 2023, AlgoPerf; Dolan & Moré 2002).

Batch sizes of one task are much alike, so the interval of a score comes from drawing tasks, not workloads, with
replacement, `DRAWS` times; so does that of the difference to the reference's score. With fewer than `LEAST_TASKS` tasks
there is none. It says how the score hangs on the choice of tasks; the uncertainty of the steps is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from suite.analysis.gap import pair_optimizers
from suite.analysis.verdict import LEVEL
from suite.analysis.words import counted, optimizer_title

MOST = 4.0
"""Largest factor of a profile, as AlgoPerf has it."""

LEAST_TASKS = 5
"""Tasks below which drawing them says nothing of others."""

DRAWS = 2000
_SEED = 0

By = Literal["steps", "seconds"]

SCORES = ["optimizer", "tasks", "workloads", "score", "low", "high", "reference", "difference", "difference_low",
          "difference_high", "ahead"]  # fmt: skip


def factors_of(steps: Mapping[str, pd.DataFrame], optimizers: Sequence[str] = (), by: By = "steps") -> pd.DataFrame:
    """The factor of every optimizer on every workload that has all of them.

    Args:
        steps: tables of `suite.analysis.target.target_table` by the name of their sweep.
        optimizers: labels; none: those on at least half of the workloads.
        by: what is compared.

    Returns:
        One row per workload, indexed by ``sweep``, ``task`` and ``batch_size``, one column per optimizer; infinite
        where the target was not reached. Without rows where no workload has two of them and one that reaches it.

    Raises:
        ValueError: an optimizer is on no workload, or there is no such quantity to compare by.
    """
    if by not in get_args(By):
        raise ValueError(f"by must be one of {', '.join(get_args(By))}, got {by!r}.")
    frames = [frame.assign(sweep=name) for name, frame in steps.items() if len(frame)]
    if not frames:
        return pd.DataFrame()
    rows = pd.concat(frames, ignore_index=True)
    tried = rows[~rows["outcome"].isin(["no curve", "no result"])]
    reached = tried["outcome"].isin(["reached", "at most"])
    times = tried.assign(time=tried[by].astype(float).where(reached, math.inf))
    keys = ["sweep", "task", "batch_size", "target"]
    wide = times.pivot_table(index=keys, columns="optimizer", values="time", aggfunc="first", sort=False)
    if unknown := [label for label in optimizers if label not in wide]:
        raise ValueError(f"No workload has {', '.join(unknown)}; there are: {', '.join(wide)}.")
    chosen = list(optimizers) or [label for label in wide if wide[label].notna().mean() >= 0.5]
    if len(chosen) < 2:
        return pd.DataFrame()
    wide = wide[chosen].dropna()
    # Two sweeps that share their runs have the same workload.
    wide = wide[~wide.reset_index().duplicated([*keys[2:], *chosen]).to_numpy()].droplevel("target")
    wide = wide[np.isfinite(wide.min(axis=1))]
    return wide.div(wide.min(axis=1), axis=0)


def profile(factors: pd.DataFrame) -> pd.DataFrame:
    """The share of workloads within every factor at which it changes, from 1 to `MOST`; one column per optimizer."""
    values = factors.to_numpy(dtype=float)
    taus = np.unique(np.concatenate([[1.0, MOST], values[(values > 1) & (values < MOST)]]))
    shares = {label: [(factors[label] <= tau).mean() for tau in taus] for label in factors}
    return pd.DataFrame(shares, index=pd.Index(taus, name="tau"))


def scores(factors: pd.DataFrame) -> pd.DataFrame:
    """The score of every optimizer, with the columns `SCORES`.

    Args:
        factors: see `factors_of`.

    Returns:
        ``low`` and ``high`` end the score's 95% interval, ``difference`` is to the reference's score (Adam's, else the
        first's); ``ahead`` names who is ahead where the difference's interval excludes zero.
    """
    if factors.empty:
        return pd.DataFrame(columns=SCORES)
    # The mean over tau of "factor <= tau" is how much of the way from 1 to MOST lies above the factor.
    gains = ((MOST - factors) / (MOST - 1)).clip(lower=0.0).where(np.isfinite(factors), 0.0)
    by_task = gains.groupby(level=["sweep", "task"], sort=False)
    sums, counts = by_task.sum(), by_task.size().to_numpy(dtype=float)
    (reference, _), *_ = pair_optimizers(list(factors))
    drawn = np.random.default_rng(_SEED).integers(len(counts), size=(DRAWS, len(counts)))
    draws = {label: sums[label].to_numpy()[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for label in factors}
    rows = []
    for label in factors:
        low, high = _ends(draws[label], len(counts))
        apart = draws[label] - draws[reference]
        least, most = _ends(apart, len(counts)) if label != reference else (math.nan, math.nan)
        ahead = label if least > 0 else reference if most < 0 else None
        difference = float(gains[label].mean() - gains[reference].mean()) if label != reference else math.nan
        rows.append(
            [label, len(counts), len(factors), float(gains[label].mean()), low, high, reference, difference, least,
             most, ahead]
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=SCORES)
    table["ahead"] = pd.Series([row[-1] for row in rows], dtype=object)
    return table


def _ends(draws: np.ndarray, tasks: int) -> tuple[float, float]:
    if tasks < LEAST_TASKS:
        return math.nan, math.nan
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def profile_sentences(table: pd.DataFrame) -> list[str]:
    """The scores in words, and who is ahead.

    Args:
        table: see `scores`.
    """
    if table.empty:
        return []
    first = table.iloc[0]
    listed = ", ".join(
        f"{optimizer_title(row.optimizer)} {row.score:.2f}{_interval(row)}" for row in table.itertuples()
    )
    where = f"{counted(int(first['workloads']), 'workload')} of {counted(int(first['tasks']), 'task')}"
    sentences = [f"Score over {where} (1: always soonest): {listed}."]
    for row in table.itertuples():
        if row.optimizer == row.reference:
            continue
        pair = f"{optimizer_title(row.optimizer)} and {optimizer_title(row.reference)}"
        if math.isnan(row.difference_low):
            sentences.append(f"{pair}: open, with fewer than {LEAST_TASKS} tasks.")
        elif row.ahead is None:
            sentences.append(f"{pair}: open; the interval of the difference of their scores holds zero.")
        else:
            other = row.reference if row.ahead == row.optimizer else row.optimizer
            sentences.append(f"{optimizer_title(row.ahead)} is ahead of {optimizer_title(other)} at {LEVEL:.0%}.")
    return sentences


def _interval(row: object) -> str:
    low, high = (float(getattr(row, name)) for name in ("low", "high"))
    return "" if math.isnan(low) else f" ({LEVEL:.0%} interval {low:.2f} to {high:.2f})"
