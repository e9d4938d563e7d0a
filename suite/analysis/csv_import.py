"""Runs from a CSV export in the format of paper 1's released results: a row per run with its loss history.

Histories are split at their commas and converted to numbers; nothing in the file is evaluated. The file is read row by
row, and no history is kept.
"""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from suite.analysis.curves import final_noise
from suite.records import final_losses
from suite.records.tuning import Setting, setting_of

HISTORY = "tr_loss_history"
VAL_HISTORY = "vl_loss_history"
VARIED = {"wd": "weight_decay", "cool_ratio": "cool_ratio"}
"""Columns that become an axis of the grid where their values vary, and the setting that each one stands for."""

MOMENTUM_FIELD = {"adam": "beta"}
"""Setting that the column ``mom`` stands for, if not ``momentum``: paper 1's Adam has one beta for both moments."""

COMPLETE = 0.99
"""A run is finished if its history has at least this share of the points of the longest one at its task and batch size.

The share is below 1 because exports subsample long runs, and not always to the same number of points."""

_WORDS = (
    (re.compile(r"""['"]\s*nan\s*['"]""", re.IGNORECASE), "inf"),
    (re.compile(r"""['"]?\s*[+-]?inf(inity)?\s*['"]?""", re.IGNORECASE), "inf"),
    (re.compile(r"\b(none|null|nan)\b", re.IGNORECASE), "nan"),
    (re.compile(r"""['"]"""), ""),
)


def load_csv(path: str | Path, final_loss: str = "ema") -> pd.DataFrame:
    """One row per run of a CSV export, in the columns of `suite.analysis.table`.

    The file must have the columns ``opt``, ``bs`` (batch size), ``lr`` and ``tr_loss_history`` (a list of the logged
    train losses, in which a loss that was not finite is written ``'NaN'``, ``'Infinity'`` or the like). It may have
    ``data``, which names the task (default: the file's name), ``mom`` (momentum or beta), ``seed`` (default: 42),
    ``wd`` (weight decay) and ``cool_ratio`` (share of a branch that cools down), both axes where they vary, and
    ``vl_loss_history``, whose last finite number is the final loss ``val``. Every other column is ignored.

    A run is ``diverged`` if its history holds a quoted ``'NaN'`` or an infinity, or ends in a missing value,
    ``interrupted`` if its history is shorter than `COMPLETE` allows, and ``missing`` if its history is empty or it
    lacks the final loss. Missing values inside a history (steps that logged something else) are skipped.

    Args:
        path: the file.
        final_loss: which definition of the final loss; see `suite.records.final_losses`.

    Returns:
        One row per run. ``steps`` is the number of points of the longest history at its task and batch size, and
        ``noise`` is computed here, since the histories are not kept.

    Raises:
        ValueError: the file cannot be read or has no row, a column is missing, a cell does not hold what its column
            must, or there is no such final loss.
    """
    rows = []
    for number, cells in _rows(Path(path), VAL_HISTORY if final_loss == "val" else HISTORY):
        row = _run(number, cells, default_task=Path(path).stem)
        measured = _history(number, cells, VAL_HISTORY) if final_loss == "val" else np.empty(0)
        row |= _result(_history(number, cells, HISTORY), final_loss, measured[np.isfinite(measured)])
        rows.append(row)
    if not rows:
        raise ValueError(f"Expected a CSV with one run per row, got {path} without any row; choose another file.")
    runs = pd.DataFrame(rows)
    longest = runs.groupby(["task", "batch_size"])["length"].transform("max")
    short = (runs["status"] == "finished") & (runs["length"] < COMPLETE * longest)
    runs.loc[short, "status"] = "interrupted"
    runs.loc[short, ["loss", "noise"]] = math.nan
    runs["steps"] = longest
    runs["setting"] = _settings(runs)
    runs["round"] = 0
    runs["reporting"] = False
    return runs.drop(columns=["length", "lr", "mom", *VARIED])


def csv_losses(path: str | Path, run_ids: set[str]) -> dict[str, np.ndarray]:
    """Train losses of some rows of a CSV export; the file is read again, since all histories would fill the memory.

    Args:
        path: the file that `load_csv` read.
        run_ids: runs whose losses are wanted.

    Returns:
        Run id to the logged losses that are not missing, shape ``[points]``.
    """
    rows = _rows(Path(path))
    histories = {str(number): _history(number, cells, HISTORY) for number, cells in rows if str(number) in run_ids}
    return {run_id: history[~np.isnan(history)] for run_id, history in histories.items()}


def parse_history(text: str) -> np.ndarray:
    """A loss history from its text, such as ``[3.2, 'NaN', nan, None]``, without evaluating any of it.

    Returns:
        Shape ``[points]``. A quoted ``'NaN'`` and infinities of either sign become +inf (the run logged a loss that was
        not finite); ``nan``, ``None`` and ``null`` become NaN (nothing was logged).

    Raises:
        ValueError: the text holds something that is not a number.
    """
    text = text.strip() or "[]"
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"Expected a list of numbers as a loss history, got {text!r:.60}.")
    numbers = text[1:-1].strip().rstrip(",")
    if any(sign in numbers for sign in "'\"NIni"):  # few histories hold a quote or a word
        for pattern, number in _WORDS:
            numbers = pattern.sub(number, numbers)
    try:
        return np.array([float(number) for number in numbers.split(",")] if numbers else [])
    except ValueError as error:
        raise ValueError(f"Expected a list of numbers as a loss history, got something else ({error}).") from error


def _history(number: int, cells: dict[str, str], column: str) -> np.ndarray:
    try:
        return parse_history(cells[column])
    except ValueError as error:
        raise ValueError(f"Row {number}, column {column}: {error}") from error


def _rows(path: Path, history_column: str = HISTORY) -> Iterator[tuple[int, dict[str, str]]]:
    """Row number (from 1, the header not counted) and cells by column of every row that is not blank."""
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            needed = dict.fromkeys(("opt", "bs", "lr", HISTORY, history_column))
            missing = [name for name in needed if name not in header]
            if missing:
                raise ValueError(
                    f"Expected the columns {', '.join(needed)} in {path}, got none called {', '.join(missing)}; "
                    "rename them in the file's first line."
                )
            for number, cells in enumerate(filter(None, reader), start=1):
                if len(cells) != len(header):
                    raise csv.Error(f"row {number} has {len(cells)} cells under {len(header)} headings")
                yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"Expected a well-formed CSV, got {path}: {error}; export it again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a readable CSV file, got {path} ({error}); change --csv.") from error


def _run(number: int, cells: dict[str, str], default_task: str) -> dict[str, object]:
    optimizer = cells["opt"].strip().lower()
    if not optimizer:
        raise ValueError(f"Expected a value in column 'opt' of row {number}, got an empty cell; fill it in.")
    return {
        "task": cells.get("data", "").strip() or default_task,
        "run_id": str(number),
        "optimizer": optimizer,
        "batch_size": int(_number(number, cells, "bs")),
        "seed": int(_number(number, cells, "seed", 42)),
        "lr": _number(number, cells, "lr"),
        "mom": _number(number, cells, "mom", math.nan),
        **{name: _number(number, cells, name, 0) for name in VARIED},
    }


def _number(number: int, cells: dict[str, str], column: str, default: float | None = None) -> float:
    """The number in a cell; an empty cell has the default, and without a default the number must be finite."""
    text = cells.get(column, "").strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or (default is None and not math.isfinite(value)):
        raise ValueError(f"Expected a number in column '{column}' of row {number}, got {text!r:.40}; correct the file.")
    return value


def _result(history: np.ndarray, final_loss: str, val_losses: np.ndarray) -> dict[str, object]:
    logged = history[~np.isnan(history)]
    missing = {"status": "missing", "loss": math.nan, "noise": math.nan, "length": len(logged)}
    if not len(history):
        return missing
    if not len(logged) or np.isinf(logged).any() or np.isnan(history[-1]):
        return missing | {"status": "diverged", "loss": math.inf}
    finals = final_losses(logged.tolist(), val_losses[-1] if len(val_losses) else math.nan)
    if final_loss not in finals:
        raise ValueError(f"Expected one of {', '.join(finals)} as final loss, got '{final_loss}'; change --final-loss.")
    if math.isnan(finals[final_loss]):
        return missing
    return missing | {"status": "finished", "loss": finals[final_loss], "noise": final_noise(logged, final_loss)}


def _settings(runs: pd.DataFrame) -> list[Setting]:
    varies = {name: runs.groupby("task")[name].transform("nunique") > 1 for name in VARIED}
    settings = []
    for i, (lr, mom, optimizer) in enumerate(zip(runs["lr"], runs["mom"], runs["optimizer"], strict=True)):
        axes = {"lr": lr}
        if not math.isnan(mom):
            axes[MOMENTUM_FIELD.get(optimizer, "momentum")] = mom
        axes |= {VARIED[name]: runs[name].iat[i] for name in VARIED if varies[name].iat[i]}
        settings.append(setting_of(axes))
    return settings
