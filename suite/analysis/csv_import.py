"""Runs from a CSV export in the format of paper 1's released results: a row per run with its loss history.

The file is only ever read as text: histories are split at their commas and converted to numbers, nothing in
them is evaluated.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from suite.analysis.curves import final_noise
from suite.records import final_losses
from suite.records.tuning import Setting, setting_of

HISTORY = "tr_loss_history"
REQUIRED = ("opt", "bs", "lr", HISTORY)
VAL_HISTORY = "vl_loss_history"
OPTIONAL = ("data", "mom", "wd", "cool_ratio", "seed")
VARIED = {"wd": "weight_decay", "cool_ratio": "cool_ratio"}
"""Columns that are an axis where they vary, with their names as settings."""

MOMENTUM_FIELD = {"adam": "beta"}
"""What column ``mom`` is called, by optimizer: paper 1's Adam has one beta for both moments."""

COMPLETE = 0.99
"""Share of the longest history of the same data and batch size that a finished run has.

Exports subsample long runs, and not always to the same number of points."""

_BLOCK_BYTES = 1 << 26  # a row must fit: 64 MiB is a history of over three million steps


def load_csv(path: str | Path, final_loss: str = "ema") -> pd.DataFrame:
    """One row per run of a CSV export, in the columns of `suite.analysis.table`.

    Needed columns are ``opt``, ``bs`` (the batch size), ``lr`` and ``tr_loss_history`` (a list of the
    logged train losses; a number that was never finite is written ``'NaN'``, ``'Infinity'`` or the like).
    ``data`` names the task, by default the file; ``mom`` is the momentum or beta; ``wd`` (weight decay) and
    ``cool_ratio`` (share of a branch that cools down) are axes where they vary; ``seed`` is 42 by default;
    the last number of ``vl_loss_history`` is the final loss ``val``. Every other column is ignored.

    A run is ``diverged`` when its history holds a written-out NaN or an infinity, or ends in a missing value;
    ``interrupted`` when it is shorter than `COMPLETE` of the longest with the same data and batch size;
    ``missing`` when it is empty. Missing values inside a history (steps that logged something else) are
    skipped.

    Args:
        path: the file.
        final_loss: which definition of the final loss; see `suite.records.final_losses`.

    Returns:
        One row per run; ``noise`` is filled in, since the histories are not kept.

    Raises:
        ValueError: the file cannot be read, a needed column is missing, or a cell is not what its column
        holds.
    """
    measured = _val_losses(Path(path)) if final_loss == "val" else {}
    rows = []
    for number, cells, history in _rows(Path(path)):
        row = _run(number, cells, default_task=Path(path).stem)
        row.update(_result(history, final_loss, measured.get(number)))
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
    """Train losses of some rows of a CSV export, read once more: keeping all of them would fill the memory.

    Args:
        path: the file that `load_csv` read.
        run_ids: which of its runs.

    Returns:
        Run id to the logged losses that are not missing, shape ``[points]``.
    """
    wanted = {int(run_id) for run_id in run_ids}
    rows = _rows(Path(path), lambda number: number in wanted)
    return {str(number): history[~np.isnan(history)] for number, _, history in rows}


def parse_histories(cells: pa.Array) -> pa.ListArray:
    """Loss histories from their text, without evaluating any of it.

    Args:
        cells: strings such as ``[3.2, 'NaN', nan, None]``; null for an absent history.

    Returns:
        Lists of float64. A written-out ``'NaN'`` becomes +inf (the run logged a loss that was not a
        number), ``nan``, ``None`` and ``null`` become NaN (nothing was logged).

    Raises:
        ValueError: a cell holds something that is not a number.
    """
    text = pc.fill_null(pc.utf8_trim_whitespace(cells), "[]")
    lists = pc.and_(pc.starts_with(text, "["), pc.ends_with(text, "]"))
    if not pc.all(lists, min_count=0).as_py():
        odd = text.filter(pc.invert(lists))[0].as_py()
        raise ValueError(f"Expected a list of numbers as a loss history, got {odd!r:.60}.")
    # Few histories hold a quote or a word; the others are split and converted without touching the text.
    special = pc.match_substring_regex(text, "['\"NIni]")
    if pc.any(special, min_count=0).as_py():
        cleaned = text
        for pattern, number in _WORDS:
            cleaned = pc.replace_substring_regex(cleaned, pattern, number)
        text = pc.if_else(special, cleaned, text)
    inner = pc.utf8_rtrim(pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(text, 1, -1)), ",")
    inner = pc.if_else(pc.equal(inner, ""), pa.scalar(None, pa.string()), inner)
    parts = pc.split_pattern(inner, ",")
    try:
        numbers = pc.cast(pc.utf8_trim_whitespace(parts.flatten()), pa.float64())
    except pa.ArrowInvalid as error:
        raise ValueError(f"Expected a list of numbers as a loss history, got something else ({error}).") from error
    return pa.ListArray.from_arrays(parts.offsets, numbers, mask=pc.is_null(parts))


_WORDS = (
    (r"""(?i)['"]\s*nan\s*['"]""", "inf"),
    (r"""(?i)['"]?\s*[+-]?inf(inity)?\s*['"]?""", "inf"),
    (r"(?i)\b(none|null|nan)\b", "nan"),
    (r"""['"]""", ""),
)


def _rows(
    path: Path, wanted: Callable[[int], bool] = lambda number: True, history_column: str = HISTORY
) -> Iterator[tuple[int, dict[str, str], np.ndarray]]:
    """Row number (from 1, the header not counted), the cells that are not the history, and the history."""
    columns = _columns(path, history_column)
    number = 0
    try:
        for batch in _reader(path, columns):
            names = [name for name in columns if name != history_column]
            cells = {name: batch.column(name).to_pylist() for name in names}
            chosen = [i for i in range(batch.num_rows) if wanted(number + 1 + i)]
            texts = batch.column(history_column).take(pa.array(chosen, pa.int64()))
            try:
                histories = parse_histories(texts)
            except ValueError as error:
                last = number + batch.num_rows
                raise ValueError(f"{path}, rows {number + 1} to {last}, column {history_column}: {error}") from error
            values = histories.values.to_numpy(zero_copy_only=False)
            offsets = histories.offsets.to_numpy()
            for i, start, end in zip(chosen, offsets, offsets[1:], strict=False):
                yield number + 1 + i, {name: cells[name][i] or "" for name in names}, values[start:end]
            number += batch.num_rows
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected a well-formed CSV, got {path}: {reason}; export it again.") from error


def _reader(path: Path, columns: list[str]) -> arrow_csv.CSVStreamingReader:
    return arrow_csv.open_csv(
        path,
        read_options=arrow_csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=columns,
            column_types={name: pa.string() for name in columns},
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=True,
        ),
    )


def _val_losses(path: Path) -> dict[int, float]:
    """Row number to the last number of its validation history; rows without one are left out."""
    histories = (
        (number, history[np.isfinite(history)]) for number, _, history in _rows(path, lambda _: True, VAL_HISTORY)
    )
    return {number: float(logged[-1]) for number, logged in histories if len(logged)}


def _columns(path: Path, history_column: str) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Expected a readable CSV file, got {path} ({error}); change --csv.") from error
    needed = dict.fromkeys((*REQUIRED[:-1], history_column))
    missing = [name for name in needed if name not in header]
    if missing:
        raise ValueError(
            f"Expected the columns {', '.join(needed)} in {path}, got none called {', '.join(missing)}; "
            "rename them in the file's first line."
        )
    return [name for name in (*needed, *OPTIONAL) if name in header]


def _run(number: int, cells: dict[str, str], default_task: str) -> dict[str, object]:
    return {
        "task": cells.get("data", "").strip() or default_task,
        "run_id": str(number),
        "optimizer": _needed(number, "opt", cells["opt"]).strip().lower(),
        "batch_size": int(_finite(number, "bs", cells["bs"])),
        "seed": int(_number(number, "seed", cells.get("seed", "") or "42")),
        "lr": _finite(number, "lr", cells["lr"]),
        "mom": _number(number, "mom", cells.get("mom", "") or "nan"),
        **{name: _number(number, name, cells.get(name, "") or "0") for name in VARIED},
    }


def _needed(number: int, column: str, text: str) -> str:
    if not text.strip():
        raise ValueError(f"Expected a value in column '{column}' of row {number}, got an empty cell; fill it in.")
    return text


def _finite(number: int, column: str, text: str) -> float:
    value = _number(number, column, _needed(number, column, text))
    if not math.isfinite(value):
        raise ValueError(f"Expected a number in column '{column}' of row {number}, got {text!r:.40}; correct the file.")
    return value


def _number(number: int, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"Expected a number in column '{column}' of row {number}, got {text!r:.40}; correct the file."
        ) from None


def _result(history: np.ndarray, final_loss: str, val_loss: float | None) -> dict[str, object]:
    logged = history[~np.isnan(history)]
    if len(history) and (not len(logged) or np.isinf(logged).any() or np.isnan(history[-1])):
        return {"status": "diverged", "loss": math.inf, "noise": math.nan, "length": len(logged)}
    missing = {"status": "missing", "loss": math.nan, "noise": math.nan, "length": len(logged)}
    if not len(history):
        return missing
    finals = final_losses(logged.tolist(), math.nan if val_loss is None else val_loss)
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
