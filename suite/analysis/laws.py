"""What a comparison says about laws of batch size, budget and settings, each computed when it is first asked for."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import pandas as pd

from suite.analysis.critical import critical_table
from suite.analysis.effects import effects_tables
from suite.analysis.families import Family, Settings, families
from suite.analysis.retrained import retrained_table
from suite.analysis.target import COLUMNS as TARGET_COLUMNS
from suite.analysis.tuned_laws import tuned_laws, tuned_values


class Laws:
    """The laws of the runs of a comparison.

    Attributes:
        runs: see `suite.analysis.table`.
        tuned: see `suite.analysis.tuned.tuned_points`.
        gaps: see `suite.analysis.gap.gap_table`.
        to_target: see `suite.analysis.target.target_table`.
        targets: the target losses that were given, by task.
        panels: see `suite.analysis.families.panel_settings`.
    """

    runs: pd.DataFrame
    tuned: pd.DataFrame
    gaps: pd.DataFrame
    to_target: pd.DataFrame
    targets: Mapping[str, float]
    panels: Mapping[str, Settings]

    @functools.cached_property
    def families(self) -> list[Family]:
        """The panels that differ in their budget alone; see `suite.analysis.families`."""
        return families(self.runs, self.panels)

    @functools.cached_property
    def retrained(self) -> pd.DataFrame:
        """Steps to the target where the budget was made for it; see `suite.analysis.retrained.retrained_table`."""
        tables = [retrained_table(self.tuned, family, self.targets) for family in self.families]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=TARGET_COLUMNS)

    @functools.cached_property
    def critical(self) -> pd.DataFrame:
        """Critical batch sizes, by budgets made for the target where there are such; see `suite.analysis.critical`."""
        steps = self.to_target if self.retrained.empty else self.retrained
        return critical_table(steps, retrained=not self.retrained.empty)

    @functools.cached_property
    def tuned_values(self) -> pd.DataFrame:
        """See `suite.analysis.tuned_laws.tuned_values`."""
        return tuned_values(self.runs, self.tuned)

    @functools.cached_property
    def tuned_laws(self) -> pd.DataFrame:
        """See `suite.analysis.tuned_laws.tuned_laws`."""
        return tuned_laws(self.tuned_values)

    @functools.cached_property
    def effects(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """See `suite.analysis.effects.effects_tables`."""
        return effects_tables(self.gaps, self.panels)
