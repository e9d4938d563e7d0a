"""The tables of a comparison as files: CSV for programs, LaTeX (booktabs) for papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from suite.analysis.comparison import Comparison
from suite.analysis.words import edge_text, format_setting, format_value, optimizer_title

_LATEX = {
    "gap": (
        "task", "batch_size", "reference", "challenger", "reference_loss", "challenger_loss",
        "gap", "uncertainty", "relative_gap", "better", "slowdown",
    ),
    "tuned": ("task", "batch_size", "optimizer", "setting", "edges", "loss", "uncertainty", "seeds"),
    "lr_width": ("task", "batch_size", "optimizer", "percent", "low", "high", "width", "open"),
}  # fmt: skip
"""Tables that are written in LaTeX as well, with the columns that fit a page."""

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def write_tables(comparison: Comparison, folder: Path) -> None:
    """Write every table of a comparison; what is there from an earlier time is replaced.

    Args:
        comparison: what was compared.
        folder: where ``gap``, ``tuned``, ``runs``, ``tuning_cost`` and ``lr_width`` go as CSV; all but the runs and the
            tuning cost as LaTeX too; of a branching sweep ``branches`` (gaps by branch point) and ``trunks`` as CSV.
    """
    runs = comparison.runs
    axes = pd.DataFrame([dict(setting) for setting in runs["setting"]], index=runs.index)
    frames = {
        "gap": comparison.gaps,
        "tuned": comparison.tuned,
        "runs": pd.concat([runs, axes.add_prefix("axis_")], axis=1),
        "tuning_cost": comparison.tuning_cost,
        "lr_width": comparison.lr_widths,
    }
    if comparison.points:
        frames["branches"] = comparison.branch_gaps
        frames["trunks"] = comparison.trunks
    for name, frame in frames.items():
        written = _flat(frame)
        written.to_csv(folder / f"{name}.csv", index=False)
        if name in _LATEX:
            columns = [column for column in _LATEX[name] if column != "task" or frame["task"].nunique() > 1]
            (folder / f"{name}.tex").write_text(latex_table(written[columns]), encoding="utf-8")


def latex_table(frame: pd.DataFrame) -> str:
    """A table in LaTeX with booktabs' rules; needs the package booktabs.

    Args:
        frame: numbers are rounded to four significant digits, text is escaped; both go into columns of their own
            alignment.
    """
    numbers = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame.columns]
    lines = [
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numbers)}}}",
        r"\toprule",
        _latex_row([column.replace("_", " ") for column in frame.columns]),
        r"\midrule",
        *(_latex_row(row) for row in frame.itertuples(index=False)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[Any]) -> str:
    return " & ".join(map(_latex_cell, cells)) + r" \\"


def _latex_cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "--"
    if isinstance(value, float):
        if math.isinf(value):
            return r"$\infty$" if value > 0 else r"$-\infty$"
        return f"${float(f'{value:.4g}'):g}$"
    if isinstance(value, str):
        return optimizer_title(value).translate(_ESCAPES)
    return format_value(value)


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
    return flat
