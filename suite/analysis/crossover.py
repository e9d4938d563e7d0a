"""The crossover: at which batch size does the gap pass zero, if it does?

A crossover is *claimed* only where one optimizer is better at some batch size, the other at a larger one, both verdicts
hold after correction for the number of batch sizes, and none of those that hold contradicts them: so at most one in
twenty sweeps without a crossover is said to have one (`benchmarks/verdicts.py`). It lies between the last batch size at
which the one is better and the first at which the other is.

Where it lies in between is estimated twice. The *line* is the weighted least-squares line of the relative gap in log2
of the batch size (the dashed line of paper 1, Figure 1); it is used only with `LEAST_POINTS` batch sizes or more, and
where it contradicts neither the gaps (by a test of its fit) nor a verdict. The *interpolation* assumes no more than
that the gap is monotone: the closest monotone sequence to the measured gaps, joined by straight pieces in log2. Their
intervals come from the same draws (`suite.analysis.crossover_interval`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import fdtrc, ndtri, stdtrit

from suite.analysis.crossover_interval import Interval, crossover_intervals, line_zeros, monotone_zeros
from suite.analysis.gap import SERIES
from suite.analysis.verdict import LEVEL
from suite.analysis.words import (
    batch_size_text,
    batch_sizes_text,
    interval_text,
    listed,
    optimizer_title,
    verdict_phrase,
)

LEAST_POINTS = 3
"""Batch sizes below which a line passes through everything."""

FIT = 0.05
"""Chance of so bad a fit below which a line contradicts the gaps."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The weighted line of a gap in log2 of the batch size.

    Attributes:
        slope: in the gap's unit per doubling of the batch size.
        intercept: in the gap's unit, at batch size 1.
        covariance: of slope and intercept, shape ``[2, 2]``.
        freedom: degrees of freedom behind the gaps' errors.
    """

    slope: float
    intercept: float
    covariance: np.ndarray = field(default_factory=lambda: np.zeros((2, 2)), compare=False)
    freedom: float = math.inf

    def __call__(self, batch_sizes: np.ndarray) -> np.ndarray:
        """The line's gap."""
        return self.intercept + self.slope * np.log2(batch_sizes)

    def half_width(self, batch_sizes: np.ndarray, level: float) -> np.ndarray:
        """Half the line's interval at some batch sizes, by Student's t."""
        at = np.stack([np.log2(batch_sizes), np.ones(len(batch_sizes))])
        errors = np.sqrt(np.clip(np.einsum("is,ij,js->s", at, self.covariance, at), 0, None))
        quantile = ndtri((1 + level) / 2) if math.isinf(self.freedom) else stdtrit(self.freedom, (1 + level) / 2)
        return errors * float(quantile)


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Where one task's gap passes zero.

    Attributes:
        task: the task.
        reference: label of the optimizer that a negative gap favours.
        challenger: label of the optimizer that a positive gap favours.
        batch_sizes: smallest and largest measured batch size; None when no gap is known.
        phrases: what is said of every batch size alone, see `suite.analysis.words.verdict_phrase`.
        alone: batch sizes at which somebody is better, but not after correction for the number of batch sizes.
        winners: who is better at which batch sizes, of the verdicts that hold together.
        line: None where there is none to be used.
        line_zero: batch size at which the line is zero; None without a line or when that is over one octave outside.
        interpolated: batch size at which the monotone interpolation is zero; None unless a crossover is claimed.
        line_interval: of the line's zero; None without a claimed crossover or a line.
        interpolated_interval: of the monotone fit's zero, likewise.
        low: lower end of what is claimed; None without a claimed crossover.
        high: upper end, likewise.
        measured: how many batch sizes have a gap.
        corrected: for how many batch sizes the verdicts are corrected.
        diverged: batch sizes at which every setting of both diverged.
    """

    task: str
    reference: str
    challenger: str
    batch_sizes: tuple[int, int] | None
    phrases: dict[int, str] = field(default_factory=dict)
    alone: tuple[int, ...] = ()
    winners: dict[int, str] = field(default_factory=dict)
    line: Line | None = None
    line_zero: float | None = None
    interpolated: float | None = None
    line_interval: Interval | None = None
    interpolated_interval: Interval | None = None
    low: int | None = None
    high: int | None = None
    measured: int = 0
    corrected: int = 0
    diverged: tuple[int, ...] = ()

    @property
    def claimed(self) -> bool:
        """Whether the gap is said to pass zero between two measured batch sizes."""
        return self.low is not None

    @property
    def decided(self) -> bool:
        """Whether what is said of all batch sizes holds at `LEVEL`: a crossover, or one winner at every one of them."""
        return self.claimed or (0 < self.measured == len(self.winners) and not self.contrary)

    @property
    def small_batch(self) -> str | None:
        """Who is better at the smallest batch sizes, where that holds together with all the rest."""
        return next(iter(self.winners.values()), None)

    @property
    def contrary(self) -> bool:
        """Whether the verdicts that hold together change sides more than once."""
        sides = list(self.winners.values())
        return sum(one != other for one, other in itertools.pairwise(sides)) > 1

    def sentence(self) -> str:
        """The answer in one sentence, for people."""
        pair = f"{optimizer_title(self.reference)} and {optimizer_title(self.challenger)}"
        both = f"every setting of {pair} diverged at {batch_sizes_text(self.diverged)}" if self.diverged else ""
        if self.batch_sizes is None:
            return f"Nothing to compare: {both}." if both else f"No batch size has a result for both {pair} yet."
        answer = self._answer()
        return f"{answer} {both[0].upper()}{both[1:]}." if both else answer

    def _answer(self) -> str:
        """The sentence over the batch sizes with a gap."""
        assert self.batch_sizes is not None
        first, last = self.batch_sizes
        if first == last:
            return f"At batch size {first}, the only one measured, {self.phrases[first]}."
        corrected = f"at {LEVEL:.0%}, corrected for {self.corrected} batch sizes"
        if self.claimed:
            small, large = (optimizer_title(self.winners[size]) for size in (min(self.winners), max(self.winners)))
            return (
                f"The gap passes zero between batch sizes {self.low} and {self.high}{self._where()}: {small} is better "
                f"below, {large} above ({corrected})."
            )
        if self.decided:
            (winner,) = set(self.winners.values())
            return (
                f"No crossover in range: {optimizer_title(winner)} is better at every batch size from {first} to "
                f"{last} ({corrected})."
            )
        sizes: dict[str, list[int]] = {}
        for size, phrase in self.phrases.items():
            sizes.setdefault(phrase, []).append(size)
        parts = [f"{phrase} at {batch_sizes_text(at)}{self._doubt(at)}" for phrase, at in sizes.items()]
        claim = "No single crossover" if self.contrary else "No crossover is claimed"
        return f"{claim}: {listed(parts)}."

    def _doubt(self, sizes: Sequence[int]) -> str:
        """Which of some batch sizes' verdicts do not hold after correction, in brackets; empty where all do."""
        alone = [size for size in sizes if size in self.alone]
        if not alone:
            return ""
        all_of_them = "none of them" if len(sizes) > 1 else "not"
        which = f"{batch_sizes_text(alone)} not" if len(alone) < len(sizes) else all_of_them
        return f" ({which} after correction for {self.corrected} batch sizes)"

    def _where(self) -> str:
        """The estimate of a claimed crossover, in words."""
        if self.line_zero is not None and self.line_interval is not None:
            return f", near {batch_size_text(self.line_zero)} ({interval_text(self.line_interval)})"
        if self.interpolated is not None and self.interpolated_interval is not None:
            return f", near {batch_size_text(self.interpolated)} ({interval_text(self.interpolated_interval)})"
        return ""


def crossover(gaps: pd.DataFrame) -> Crossover:
    """The crossover of one task and pair of optimizers.

    Args:
        gaps: rows of `suite.analysis.gap.gap_table` for one task, reference and challenger.

    Returns:
        Verdicts, estimates and intervals; see `Crossover`.

    Raises:
        ValueError: the rows mix tasks or pairs.
    """
    keys = gaps[SERIES].drop_duplicates()
    if len(keys) != 1:
        raise ValueError(
            f"Expected the gaps of one task and one pair of optimizers, got {len(keys)}; choose the rows of one."
        )
    task, reference, challenger = keys.iloc[0]
    measured = gaps[gaps["gap"].notna()].sort_values("batch_size")
    losses = gaps[["reference_loss", "challenger_loss"]].to_numpy(dtype=float)
    diverged = tuple(map(int, gaps.loc[np.isinf(losses).all(axis=1), "batch_size"]))
    if measured.empty:
        return Crossover(task=task, reference=reference, challenger=challenger, batch_sizes=None, diverged=diverged)
    sizes = [int(size) for size in measured["batch_size"]]
    together, better = measured["together"].astype(bool), measured["better"].notna()
    held = measured[together]
    winners = dict(zip(map(int, held["batch_size"]), held["better"], strict=True))
    low, high = _between(winners)
    line = trend(measured)
    estimates = {} if low is None or high is None else _estimates(measured, line, challenger, (low, high))
    return Crossover(
        task=task,
        reference=reference,
        challenger=challenger,
        batch_sizes=(sizes[0], sizes[-1]),
        phrases={size: verdict_phrase(row) for size, (_, row) in zip(sizes, measured.iterrows(), strict=True)},
        alone=tuple(int(size) for size in measured.loc[better & ~together, "batch_size"]),
        winners=winners,
        line=line,
        low=low,
        high=high,
        measured=len(measured),
        corrected=int(measured["corrected"].max()),
        diverged=diverged,
        **estimates,
    )


def trend(gaps: pd.DataFrame, *, relative: bool = True) -> Line | None:
    """The weighted line through the gaps of one series; None where it cannot be believed.

    It needs `LEAST_POINTS` finite gaps whose errors are known, may not miss them by more than errors explain (F test at
    `FIT`), and may not be on the other side of zero where an optimizer is better.

    Args:
        gaps: rows of a gap table.
        relative: whether it is of the relative gap, in percent, or of the gap in the unit of the loss.
    """
    prefix = "relative_" if relative else ""
    names = ("batch_size", f"{prefix}gap", f"{prefix}error", "freedom")
    finite = gaps[np.isfinite(gaps[list(names)].to_numpy(dtype=float)).all(axis=1)]
    sizes, values, errors, freedoms = (finite[name].to_numpy(dtype=float) for name in names)
    if len(np.unique(sizes)) < LEAST_POINTS or not (errors > 0).all():
        return None
    slope, intercept = np.polyfit(np.log2(sizes), values, 1, w=1 / errors)
    design = np.stack([np.log2(sizes), np.ones(len(sizes))], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    line = Line(slope=float(slope), intercept=float(intercept), covariance=covariance, freedom=float(np.mean(freedoms)))
    misfit = float(np.square((values - line(sizes)) / errors).sum()) / (len(values) - 2)
    if fdtrc(len(values) - 2, float(np.mean(freedoms)), misfit) < FIT:
        return None
    sided = gaps[gaps["better"].notna()]
    expected = np.where(sided["better"] == sided["challenger"], 1, -1)
    return line if (np.sign(line(sided["batch_size"].to_numpy(dtype=float))) == expected).all() else None


def _between(winners: dict[int, str]) -> tuple[int | None, int | None]:
    """The last batch size of one winner and the first of the other; None unless sides change exactly once."""
    sizes = sorted(winners)
    changes = [(one, other) for one, other in itertools.pairwise(sizes) if winners[one] != winners[other]]
    return changes[0] if len(changes) == 1 else (None, None)


def _estimates(measured: pd.DataFrame, line: Line | None, challenger: str, ends: tuple[int, int]) -> dict[str, Any]:
    """Both estimates of a claimed crossover and their intervals, where they lie inside what is claimed."""
    finite = measured[np.isfinite(measured["relative_gap"].to_numpy(dtype=float))]
    if len(finite) < 2:
        return {}
    falling = bool(measured.set_index("batch_size").loc[ends[0], "better"] == challenger)
    log_sizes = np.log2(finite["batch_size"].to_numpy(dtype=float))
    values = finite["relative_gap"].to_numpy(dtype=float)
    errors = finite["relative_error"].to_numpy(dtype=float)
    of_line, of_fit = crossover_intervals(finite, falling=falling)
    root = _inside(float(monotone_zeros(log_sizes, values[None], falling=falling)[0]), ends)
    estimates: dict[str, Any] = {"interpolated": root, "interpolated_interval": of_fit}
    if line is not None:
        zero = _inside(float(line_zeros(log_sizes, values[None], errors)[0]), ends)
        estimates |= {"line_zero": zero, "line_interval": of_line}
    return estimates


def _inside(zero: float, ends: tuple[int, int]) -> float | None:
    """A zero in log2 of the batch size as a batch size; None outside what the verdicts leave."""
    size = 2.0**zero if math.isfinite(zero) else math.nan
    return size if ends[0] <= size <= ends[1] else None
