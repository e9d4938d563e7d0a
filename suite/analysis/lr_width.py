"""How sensitive is an optimizer to its learning rate? The range whose loss is within some percent of the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.tuned import POINT, choosing, lowest_losses
from suite.analysis.words import counted, optimizer_title

PERCENT = 2.0
"""Largest excess over the best loss of a learning rate in the range, in percent of the best loss."""

COLUMNS = [*POINT, "percent", "low", "high", "width", "open"]


def lr_width_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Width of the learning-rate range within `PERCENT` of the best loss.

    At every learning rate the other axes are at their best. Between neighbouring learning rates the loss is taken as a
    straight line in log10 of the learning rate; beside a diverged neighbour the range ends at the last finite one.
    This puts a number on paper 1's remark that Adam is the more stable optimizer.

    Args:
        runs: see `suite.analysis.table`.

    Returns:
        One row per task, optimizer and batch size with a numeric ``lr`` axis of two values or more: ``low`` and
        ``high`` end of the range, ``width`` in decades, and ``open``: the ends (``low``, ``high``, ``both``) at which
        the grid stopped first, so that the width is a lower bound; empty where there is none.
    """
    rows: list[dict[str, Any]] = []
    for key, group in choosing(runs).groupby(POINT, sort=False):
        losses_by_lr = {lr: loss for (lr,), loss in lowest_losses(group, ["lr"]).items() if isinstance(lr, int | float)}
        lrs = np.array(sorted(lr for lr in losses_by_lr if lr > 0))
        losses = np.array([losses_by_lr[lr] for lr in lrs])
        if len(lrs) < 2 or not np.isfinite(losses).any():
            continue
        low, high, ends = _range(np.log10(lrs), losses)
        rows.append(
            dict(zip(POINT, key, strict=True))
            | {"percent": PERCENT, "low": 10**low, "high": 10**high, "width": high - low, "open": ends}
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def lr_width_sentences(widths: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Which of two optimizers has the wider range of learning rates, one sentence per task and pair.

    Args:
        widths: see `lr_width_table`.
        pairs: optimizers to compare; see `suite.analysis.gap.pair_optimizers`.
    """
    sentences, several = [], widths["task"].nunique() > 1
    for task, rows in widths.groupby("task", sort=False):
        table = rows.pivot(index="batch_size", columns="optimizer", values=["width", "open"])
        for pair in pairs:
            if not set(pair) <= set(table["width"].columns):
                continue
            both = table.loc[:, (slice(None), list(pair))].dropna()
            if both.empty:
                continue
            names = [optimizer_title(label) for label in pair]
            first, second = (both["width"][label].astype(float) for label in pair)
            closed = [both["open"][label] == "" for label in pair]
            differ = ~np.isclose(first, second, rtol=1e-6)
            counts = {
                f"wider for {names[0]}": int((differ & (first > second) & closed[1]).sum()),
                f"wider for {names[1]}": int((differ & (second > first) & closed[0]).sum()),
                "as wide for both": int((~differ).sum()),
            }
            cut = len(both) - sum(counts.values())
            parts = [f"{what} at {count}" for what, count in counts.items() if count]
            parts += [f"cut by the grid before it can be compared at {cut}"] if cut else []
            where = f" of {task}" if several else ""
            sentences.append(
                f"The range of learning rates within {rows['percent'].iloc[0]:g}% of the best loss is "
                f"{', '.join(parts)} of {counted(len(both), 'batch size')}{where} (median {first.median():.2f} decades "
                f"for {names[0]}, {second.median():.2f} for {names[1]})."
            )
    return sentences


def _range(log_lrs: np.ndarray, losses: np.ndarray) -> tuple[float, float, str]:
    """Ends of the range around the best, and at which of them the grid stopped before the loss rose."""
    best = int(np.argmin(losses))
    limit = losses[best] + abs(losses[best]) * PERCENT / 100
    ends, opened = [], []
    for name, step, last in (("low", -1, 0), ("high", 1, len(losses) - 1)):
        inside = best
        while inside != last and losses[inside + step] <= limit:
            inside += step
        end = float(log_lrs[inside])
        if inside == last:
            opened.append(name)
        elif math.isfinite(losses[inside + step]):
            share = (limit - losses[inside]) / (losses[inside + step] - losses[inside])
            end += share * float(log_lrs[inside + step] - log_lrs[inside])
        ends.append(end)
    return ends[0], ends[1], "both" if len(opened) == 2 else "".join(opened)
