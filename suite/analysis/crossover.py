"""The crossover: at which batch size does the gap pass zero, if it does?

There are two estimates, because neither can be trusted alone on a handful of batch sizes. The *line* is the
least-squares line of the relative gap in log2 of the batch size (the dashed line of paper 1, Figure 1). The
*interpolation* assumes only that the gap is monotone: it joins the monotone sequence that is closest to the measured
gaps by straight pieces in log2. The *interval* needs no fit: up to its lower end every resolved gap favours one
optimizer, from its upper end on every resolved gap favours the other. Each estimate has its own interval as well
(`suite.analysis.crossover_interval`): where its zero lies when the gaps vary within their uncertainty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from suite.analysis.crossover_interval import Interval, crossover_intervals, line_zeros, monotone_zeros
from suite.analysis.gap import SERIES
from suite.analysis.monotone import monotone_fit
from suite.analysis.words import batch_size_text, interval_text, optimizer_title


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Where one task's gap passes zero.

    Attributes:
        task: the task.
        reference: label of the optimizer that a negative gap favours.
        challenger: label of the optimizer that a positive gap favours.
        batch_sizes: smallest and largest measured batch size; None when no gap is known.
        slope: slope of the line, in percent of the reference's loss per doubling of the batch size; NaN of one point.
        intercept: value of the line at batch size 1, in percent.
        line: batch size at which the line is zero; None when that is more than one octave outside the data.
        interpolated: batch size at which the interpolation is zero; None if it has one sign or is outside the interval.
        line_interval: interval of the line's zero; None when an uncertainty is not known.
        interpolated_interval: interval of the interpolation's zero; None when an uncertainty is not known.
        low: lower end of the interval; None when the side below is not resolved.
        high: upper end of the interval; None when the side above is not resolved.
        small_batch: who is better at the smallest batch size, by the sign of the monotone fit.
        large_batch: who is better at the largest batch size, by the sign of the monotone fit.
        sign_changes: how often the measured gaps change sign; above 1 they are not monotone around zero.
        measured: how many batch sizes have a gap.
        unresolved: how many of them have a gap below its uncertainty.
        contrary: how many have a resolved gap against the sign of the monotone fit.
        resolved: whether the interval is closed, or without a crossover, whether every gap is resolved.
    """

    task: str
    reference: str
    challenger: str
    batch_sizes: tuple[int, int] | None
    slope: float = math.nan
    intercept: float = math.nan
    line: float | None = None
    interpolated: float | None = None
    line_interval: Interval | None = None
    interpolated_interval: Interval | None = None
    low: int | None = None
    high: int | None = None
    small_batch: str | None = None
    large_batch: str | None = None
    sign_changes: int = 0
    measured: int = 0
    unresolved: int = 0
    contrary: int = 0
    resolved: bool = False

    @property
    def in_range(self) -> bool:
        """Whether the gap passes zero between the smallest and the largest measured batch size."""
        return self.small_batch is not None and self.small_batch != self.large_batch

    def sentence(self) -> str:
        """The answer in one sentence, for people."""
        if self.batch_sizes is None or self.small_batch is None or self.large_batch is None:
            return (
                f"No batch size has a result for both {optimizer_title(self.reference)} and "
                f"{optimizer_title(self.challenger)} yet."
            )
        first, last = self.batch_sizes
        small, large = optimizer_title(self.small_batch), optimizer_title(self.large_batch)
        if first == last:
            answer = f"{small} is better" if self.resolved else "the gap is not resolved"
            return f"At batch size {first}, the only one measured, {answer}."
        if self.unresolved == self.measured:
            return f"The gap is not resolved at any batch size from {first} to {last}."
        if not self.in_range and self.contrary:
            return (
                f"No single crossover: {small} is better on the whole from {first} to {last}, "
                f"but not at {self.contrary} of {self.measured} batch sizes."
            )
        if not self.in_range:
            doubt = f", {self.unresolved} of {self.measured} not resolved" if self.unresolved else ""
            return f"No crossover in range: {small} is better at every batch size from {first} to {last}{doubt}."
        guess = "" if self.interpolated is None else f" near batch size {batch_size_text(self.interpolated)}"
        if self.resolved:
            between = f"between {self.low} and {self.high}"
            return f"The gap passes zero{guess} ({between}): {small} is better below, {large} above."
        answer = "the resolved gaps contradict each other"
        if self.low is not None:
            answer = f"{small} is better up to batch size {self.low}, and no gap above it is resolved"
        elif self.high is not None:
            answer = f"{large} is better from batch size {self.high} on, and no gap below it is resolved"
        return f"No crossover is resolved: {answer}" + (f" (best guess: zero{guess})." if guess else ".")

    def estimates(self) -> str:
        """Both estimates of the crossover with their intervals, in words; empty where there is no interval."""
        if self.line_interval is None or self.interpolated_interval is None:
            return ""
        estimates = (
            ("Line in log2 of the batch size", self.line, self.line_interval),
            ("monotone fit", self.interpolated, self.interpolated_interval),
        )
        parts = [
            f"{name}: {'no zero in range' if zero is None else f'zero at {batch_size_text(zero)}'} "
            f"({interval_text(interval)})"
            for name, zero, interval in estimates
        ]
        return "; ".join(parts) + "."


def crossover(gaps: pd.DataFrame) -> Crossover:
    """The crossover of one task and pair of optimizers.

    Args:
        gaps: rows of `suite.analysis.gap.gap_table` for one task, reference and challenger.

    Returns:
        Estimates and interval; see `Crossover`.

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
    if measured.empty:
        return Crossover(task=task, reference=reference, challenger=challenger, batch_sizes=None)
    sizes = measured["batch_size"].to_numpy()
    finite = measured[np.isfinite(measured["relative_gap"].to_numpy(dtype=float))]
    log_sizes = np.log2(finite["batch_size"].to_numpy(dtype=float))
    values = finite["relative_gap"].to_numpy(dtype=float)
    slope, intercept = np.polyfit(log_sizes, values, 1) if len(values) > 1 else (math.nan, math.nan)
    falling = _is_falling(measured, slope)
    signs = _monotone_signs(measured, falling=falling)
    small, large = (challenger if sign > 0 else reference for sign in (signs[0], signs[-1]))
    low, high = _interval(measured, int(signs[0])) if small != large else (None, None)
    line, root = _zeros(log_sizes, values, falling=falling)
    if small == large or (root is not None and not (low or 0) <= root <= (high or math.inf)):
        root = None  # the fit and the resolved gaps contradict each other: only the interval can be believed
    resolved = measured["resolved"].astype(bool)
    line_interval, interpolated_interval = crossover_intervals(measured, falling=falling)
    return Crossover(
        task=task,
        reference=reference,
        challenger=challenger,
        batch_sizes=(int(sizes[0]), int(sizes[-1])),
        slope=float(slope),
        intercept=float(intercept),
        line=line,
        interpolated=root,
        line_interval=line_interval,
        interpolated_interval=interpolated_interval,
        low=low,
        high=high,
        small_batch=small,
        large_batch=large,
        sign_changes=int(np.count_nonzero(np.diff(np.sign(measured["gap"].to_numpy(dtype=float))))),
        measured=len(measured),
        unresolved=int((~resolved).sum()),
        contrary=int((resolved & (np.sign(measured["gap"]) != signs)).sum()),
        resolved=(low is not None and high is not None) if small != large else bool(resolved.all()),
    )


def _is_falling(measured: pd.DataFrame, slope: float) -> bool:
    """Whether the gap falls with the batch size: by an infinite gap at an end if there is one, else by the slope."""
    ends = measured["gap"].to_numpy(dtype=float)[[0, -1]]
    if np.isinf(ends).any():
        return bool(ends[0] > ends[1])
    return not slope > 0


def _monotone_signs(measured: pd.DataFrame, *, falling: bool) -> np.ndarray:
    """Sign of the monotone fit at every batch size; a gap of exactly zero counts for the reference."""
    gaps = measured["relative_gap"].to_numpy(dtype=float)
    finite = gaps[np.isfinite(gaps)]
    reach = 2 * np.abs(finite).max() + 1 if len(finite) else 1.0
    return np.where(monotone_fit(np.clip(gaps, -reach, reach), falling=falling) > 0, 1, -1)


def _zeros(log_sizes: np.ndarray, values: np.ndarray, *, falling: bool) -> tuple[float | None, float | None]:
    """Batch sizes at which the line and the monotone interpolation are zero; None without a zero in range."""
    if len(values) < 2:
        return None, None
    zeros = line_zeros(log_sizes, values[None])[0], monotone_zeros(log_sizes, values[None], falling=falling)[0]
    line, root = (float(2**zero) if math.isfinite(zero) else None for zero in zeros)
    return line, root


def _interval(measured: pd.DataFrame, small_sign: int) -> tuple[int | None, int | None]:
    """Batch sizes up to which every resolved gap has ``small_sign``, and from which on every one has the other sign."""
    resolved = measured[measured["resolved"].astype(bool)]
    signs = np.sign(resolved["gap"].to_numpy(dtype=float)).astype(int)
    sizes = resolved["batch_size"].to_numpy()
    low = high = None
    for size, sign in zip(sizes, signs, strict=True):
        if sign != small_sign:
            break
        low = int(size)
    for size, sign in zip(sizes[::-1], signs[::-1], strict=True):
        if sign == small_sign:
            break
        high = int(size)
    return low, high
