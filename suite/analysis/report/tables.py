"""The tables of a comparison as files: CSV for programs, LaTeX (booktabs) for papers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from suite.analysis.budget_law import crossover_table, law_table
from suite.analysis.collapse import collapse_table
from suite.analysis.comparison import Comparison
from suite.analysis.csv_text import csv_text
from suite.analysis.report.latex import gap_latex, lr_width_latex, steps_latex, tuned_latex
from suite.analysis.words import edge_text, format_setting
from suite.records.files import write_text_atomically

_LATEX = {"gap": gap_latex, "tuned": tuned_latex, "lr_width": lr_width_latex, "steps_to_target": steps_latex}
"""Tables that are written in LaTeX as well."""


def write_tables(comparison: Comparison, folder: Path) -> None:
    """Write every table of a comparison; files of an earlier call are replaced.

    Args:
        comparison: what was compared.
        folder: where ``gap``, ``tuned``, ``runs``, ``lr_width`` and, of grids, ``tuning_cost`` go as CSV; all but the
            runs and the tuning cost as LaTeX too; of a branching sweep ``branches`` (gaps by branch point) and
            ``trunks`` as CSV.
    """
    runs = comparison.runs
    axes = pd.DataFrame([dict(setting) for setting in runs["setting"]], index=runs.index)
    frames = {
        "gap": comparison.gaps,
        "tuned": comparison.tuned,
        "runs": pd.concat([runs, axes.add_prefix("axis_")], axis=1),
        "lr_width": comparison.lr_widths,
    }
    frames["steps_to_target"] = comparison.to_target
    if not comparison.tuning_cost.empty:
        frames["tuning_cost"] = comparison.tuning_cost
    if not comparison.critical.empty:
        frames["critical_batch_size"] = comparison.critical
    if not comparison.retrained.empty:
        frames["steps_retrained"] = comparison.retrained
    if not comparison.tuned_laws.empty:
        frames["tuned_laws"] = comparison.tuned_laws
    effects, explained = comparison.effects
    if len(effects):
        frames |= {"effects": effects, "explained": explained}
    if comparison.budget_laws:
        frames["budget_law"] = law_table(comparison.budget_laws)
        frames["crossover_by_budget"] = crossover_table(comparison.budget_laws)
    if comparison.collapses:
        frames["collapse"] = collapse_table(comparison.collapses)
    if comparison.points:
        frames["branches"] = comparison.branch_gaps
        frames["trunks"] = comparison.trunks
    for name, frame in frames.items():
        written = _flat(frame)
        write_text_atomically(folder / f"{name}.csv", csv_text(written))
        if name in _LATEX:
            what = " ".join(f"% final loss: {comparison.final_losses}".split())
            write_text_atomically(folder / f"{name}.tex", f"{what}\n{_LATEX[name](frame)}")


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with settings and flags as text."""
    flat = frame.copy()
    for column in flat.columns:
        if column.endswith("setting"):
            flat[column] = flat[column].map(format_setting)
        elif column.endswith("edges"):
            flat[column] = flat[column].map(edge_text)
        elif column in ("untuned", "run_ids"):
            flat[column] = flat[column].map(" ".join)
        elif column == "seed_losses":
            flat[column] = [" ".join(f"{seed}:{loss!r}" for seed, loss in losses.items()) for losses in flat[column]]
    return flat
