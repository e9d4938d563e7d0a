"""What of a comparison is shown: some of its optimizers, some of its batch sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import pandas as pd

from suite.analysis.words import batch_sizes_text, labels_by_name

_Value = TypeVar("_Value", str, int)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """A choice among optimizers and batch sizes.

    Attributes:
        optimizers: labels or what figures call them, of which case does not count; empty: all.
        batch_sizes: empty: all.
    """

    optimizers: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = ()

    def of_optimizers(self, runs: pd.DataFrame, titles: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
        """The runs of the chosen optimizers; each optimizer is tuned by itself, so that nothing else changes.

        Args:
            runs: see `suite.analysis.table.load_runs`.
            titles: what the sweep's YAML calls its optimizers in figures.

        Raises:
            ValueError: one of them has no runs.
        """
        labels = list(runs["optimizer"].drop_duplicates())
        called = labels_by_name(labels, titles)
        chosen = [called.get(name.lower(), name) for name in self.optimizers]
        _refuse_unknown(chosen, labels, "optimizers", "--optimizers")
        return runs[runs["optimizer"].isin(chosen)].reset_index(drop=True) if chosen else runs

    def of_sizes(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of the chosen batch sizes.

        Raises:
            ValueError: one of them is not there.
        """
        _refuse_unknown(self.batch_sizes, sorted(frame["batch_size"].unique()), "batch sizes", "--batch-sizes")
        return frame[frame["batch_size"].isin(self.batch_sizes)].reset_index(drop=True) if self.batch_sizes else frame

    def note(self, runs: pd.DataFrame) -> list[str]:
        """What is not shown and counts nevertheless, a sentence; none where everything is shown."""
        hidden = sorted(set(runs["batch_size"]) - set(self.batch_sizes))
        if not self.batch_sizes or not hidden:
            return []
        return [
            f"Not shown: {batch_sizes_text(hidden)}; every verdict, and its correction for the number of batch sizes, "
            "is as with them."
        ]


def _refuse_unknown(chosen: tuple[_Value, ...] | list[_Value], there: list[_Value], what: str, option: str) -> None:
    unknown = [str(value) for value in chosen if value not in there]
    if unknown:
        raise ValueError(
            f"Expected {what} of this sweep ({', '.join(map(str, there))}), got {', '.join(unknown)}; change {option}."
        )


ALL = Selection()
