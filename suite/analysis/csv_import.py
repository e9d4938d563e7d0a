"""Runs from a CSV export: a row per run with its loss history, as in paper 1's released results or as the suite writes.

Histories are split at their commas and converted to numbers; nothing in the file is evaluated. The file is read row by
row, and no history is kept. `suite.analysis.csv_export` writes what is read here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.branches import BranchPoint
from suite.analysis.copies import without_copies
from suite.analysis.csv_cells import CsvRow, csv_rows, is_kind
from suite.analysis.table import STATUSES
from suite.records import FINAL_LOSSES, final_losses
from suite.records.tuning import Setting, is_momentum, setting_of

HISTORY = "tr_loss_history"
VAL_HISTORY = "vl_loss_history"
VARIED = {"wd": "weight_decay", "cool_ratio": "cool_ratio"}
"""Columns that become an axis of the grid where their values vary, and the setting that each one stands for."""

MOMENTUM_FIELD = {"adam": "beta"}
"""Setting that the column ``mom`` stands for, if not ``momentum``: paper 1's Adam has one beta for both moments."""

COMPLETE = 0.99
"""A run is finished if its history has at least this share of the points of the longest one at its task and batch size.

The share is below 1 because exports subsample long runs, and not always to the same number of points."""

ROLES = ("reporting", "trunk")
"""What a run may be that takes no part in choosing: it reports a chosen setting, or others start from it."""

_BESIDE = ["seeded", "length", "digest", "role", "point", "axes", "stated", "definition", "lr", "mom"]

_BRANCH_STEP = re.compile(r"(?:^|[_\-/ ])step[_\-]?(\d{1,9})(?=$|[_\-/ ])", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvRuns:
    """The runs of a CSV export.

    Attributes:
        runs: one row per run, in the columns of `suite.analysis.table`.
        trunks: the same of the trunks, from which other runs start.
        points: branch point of each task whose runs start from a trunk.
        final_losses: definition of the final loss by task.
        notes: sentences about rows that do not count.
        seeded: whether the file has a column of seeds.
    """

    runs: pd.DataFrame
    trunks: pd.DataFrame
    points: Mapping[str, BranchPoint]
    final_losses: Mapping[str, str]
    notes: tuple[str, ...]
    seeded: bool


def load_csv(path: str | Path, final_loss: str | None = None) -> CsvRuns:
    """The runs of a CSV export, each once.

    The file must have the columns ``opt``, ``bs`` (batch size), ``lr`` and ``tr_loss_history`` (a list of the logged
    train losses, in which a loss that was not finite is written ``'NaN'``, ``'Infinity'`` or the like). It may have
    ``data``, which names the task (default: the file's name), ``mom`` (momentum or beta), ``seed`` (default: 42),
    ``wd`` (weight decay) and ``cool_ratio`` (share of a branch that cools down), both axes where they vary,
    ``vl_loss_history``, whose last finite number is the final loss ``val``, and ``run_name``: a name such as
    ``step377_sgd_lr1e1`` says that the run starts from a trunk's weights after step 377. Runs of different branch
    points are different tasks. Exports of the suite have more columns, see `suite.analysis.csv_export.COLUMNS`; every
    other column is ignored.

    A run is ``diverged`` if its history holds a quoted ``'NaN'`` or an infinity, or ends in a missing value,
    ``interrupted`` if its history is shorter than `COMPLETE` allows, and ``missing`` if its history is empty or it
    lacks the final loss. Missing values inside a history (steps that logged something else) are skipped.

    Rows of equal task, optimizer, batch size, setting and seed are one run, see `suite.analysis.copies`.

    Args:
        path: the file.
        final_loss: definition of the final loss; by default that of the column ``final_loss``, or ``ema``.

    Raises:
        ValueError: the file cannot be read or has no row, a column is missing, a cell does not hold what its column
            must, or there is no such final loss.
    """
    if final_loss is not None and final_loss not in FINAL_LOSSES:
        raise ValueError(
            f"Expected one of {', '.join(FINAL_LOSSES)} as final loss, got '{final_loss}'; change --final-loss."
        )
    measured = [VAL_HISTORY] if final_loss == "val" else []
    rows = [_run(row, final_loss) for row in csv_rows(Path(path), "opt", "bs", ("lr", "setting"), HISTORY, *measured)]
    if not rows:
        raise ValueError(f"Expected a CSV with one run per row, got {path} without any row; choose another file.")
    runs = pd.DataFrame(rows)
    longest = runs.groupby(["task", "batch_size"])["length"].transform("max")
    short = (runs["status"] == "finished") & ~runs["stated"] & (runs["length"] < COMPLETE * longest)
    runs.loc[short, "status"] = "interrupted"
    runs.loc[short, "loss"] = math.nan
    runs["steps"] = pd.to_numeric(runs["steps"]).fillna(longest).astype(int)
    runs["setting"] = _settings(runs)
    runs, notes = without_copies(runs)
    trunk = runs["role"] == "trunk"
    points = _points(runs)
    definitions = _definitions(runs, Path(path))
    runs["reporting"] = runs["role"] == "reporting"
    seeded = bool(runs["seeded"].any())
    runs = runs.drop(columns=[*_BESIDE, *VARIED])
    return CsvRuns(
        runs=_by_branch_point(runs[~trunk], points),
        trunks=runs[trunk].reset_index(drop=True),
        points=points,
        final_losses=definitions,
        notes=notes,
        seeded=seeded,
    )


def csv_histories(path: str | Path, run_ids: set[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The losses of some rows of a CSV export; the file is read again, since all histories would fill the memory.

    Args:
        path: the file that `load_csv` read.
        run_ids: runs whose losses are wanted.

    Returns:
        Run id to its train and validation losses as they were logged, NaN where something else was, ``[points]`` each.
    """
    return {
        str(row.number): (row.history(HISTORY), row.history(VAL_HISTORY))
        for row in csv_rows(Path(path), HISTORY)
        if str(row.number) in run_ids
    }


def _run(row: CsvRow, final_loss: str | None) -> dict[str, Any]:
    optimizer = row.text("opt").lower()
    if not optimizer:
        raise row.refused("opt", "a value")
    ours = {"setting", "status", "role"} <= row.cells.keys()
    definition = final_loss or (row.text("final_loss", tuple(FINAL_LOSSES)) if ours else "") or "ema"
    history = row.history(HISTORY)
    measured = row.history(VAL_HISTORY) if definition == "val" else np.empty(0)
    task, point = _branch_point(row, row.text("data") or row.file.stem, ours=ours)
    return {
        "task": task,
        "run_id": str(row.number),
        "optimizer": optimizer,
        "batch_size": row.whole("bs", least=1),
        "seed": row.whole("seed", least=0, default=42),
        "seeded": bool(row.text("seed")),
        "axes": _axes(row) if ours else None,
        "lr": math.nan if ours else row.value("lr", "rate"),
        "mom": math.nan if ours else row.value("mom", "momentum", math.nan),
        **{name: 0.0 if ours else row.value(name, "amount", 0.0) for name in VARIED},
        "definition": definition,
        "role": row.text("role", ROLES) if ours else "",
        "point": point,
        "stated": ours,
        "round": row.whole("round", least=0, default=0) if ours else 0,
        "steps": row.whole("steps", least=1) if ours else None,
        "digest": hashlib.blake2b(history.tobytes(), digest_size=8).hexdigest(),
        **_result(history, definition, measured[np.isfinite(measured)], row.text("status", STATUSES) if ours else ""),
    }


def _axes(row: CsvRow) -> Setting:
    """The whole setting of a run of an export of the suite."""
    axes = row.mapping("setting")
    for name, value in axes.items():
        last = name.rpartition(".")[2]
        kind = "rate" if last == "lr" else "momentum" if is_momentum(last) else None
        numbers = [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, int | float)]
        if kind and not all(is_kind(number, kind) for number in numbers):
            raise row.refused("setting", f"a {kind} for {name}")
    return setting_of(axes)


def _branch_point(row: CsvRow, task: str, *, ours: bool) -> tuple[str, BranchPoint | None]:
    """The task of a run, and the branch point from which it starts, if any."""
    if ours and row.text("share"):
        return task, BranchPoint(row.text("panel"), row.text("trunk"), row.value("share", "share"))
    if not ours and (match := _BRANCH_STEP.search(row.text("run_name"))):
        step = int(match[1])
        return f"{task}, step {step}", BranchPoint(task, "", math.nan, step)
    return task, None


def _result(history: np.ndarray, final_loss: str, val_losses: np.ndarray, status: str) -> dict[str, object]:
    """Status and final loss, by a history and the status that the file gives, if any."""
    logged = history[~np.isnan(history)]
    missing = {"status": "missing", "loss": math.nan, "length": len(logged)}
    if status and status not in ("finished", "diverged"):
        return missing | {"status": status}
    if not len(history):
        return missing
    if status == "diverged" or not len(logged) or np.isinf(logged).any() or np.isnan(history[-1]):
        return missing | {"status": "diverged", "loss": math.inf}
    finals = final_losses(logged.tolist(), val_losses[-1] if len(val_losses) else math.nan)
    if math.isnan(finals[final_loss]):
        return missing
    return missing | {"status": "finished", "loss": finals[final_loss]}


def _settings(runs: pd.DataFrame) -> list[Setting]:
    varies = {name: runs.groupby("task")[name].transform("nunique") > 1 for name in VARIED}
    settings = []
    for i, (whole, lr, mom, optimizer) in enumerate(
        zip(runs["axes"], runs["lr"], runs["mom"], runs["optimizer"], strict=True)
    ):
        axes = {"lr": _written(lr)}
        if not math.isnan(mom):
            axes[MOMENTUM_FIELD.get(optimizer, "momentum")] = _written(mom)
        axes |= {VARIED[name]: _written(runs[name].iat[i]) for name in VARIED if varies[name].iat[i]}
        settings.append(setting_of(axes) if whole is None else whole)
    return settings


def _written(value: float) -> float:
    """A value to six digits, so that one that was written in single precision is the same; 1 is never reached."""
    short = float(f"{value:.6g}")
    return value if short == 1 else short


def _points(runs: pd.DataFrame) -> dict[str, BranchPoint]:
    """The branch point of each task; where a name gives the step alone, its share of the longest run's steps."""
    points: dict[str, BranchPoint] = {}
    steps = runs.groupby("task")["steps"].max()
    for task, point in zip(runs["task"], runs["point"], strict=True):
        if point is not None and task not in points:
            of_name = point.step is not None
            share = point.step / (point.step + int(steps[task])) if of_name else point.share
            points[task] = dataclasses.replace(point, share=share)
    return points


def _by_branch_point(runs: pd.DataFrame, points: Mapping[str, BranchPoint]) -> pd.DataFrame:
    """The runs with the branch points that names give in ascending order; all others keep their order."""
    if any(point.step is not None for point in points.values()):
        panels = runs["task"].map(lambda task: points[task].panel if task in points else task)
        places = pd.DataFrame({"panel": pd.factorize(panels)[0], "step": runs["task"].map(lambda t: _step(points, t))})
        runs = runs.iloc[np.lexsort((places["step"], places["panel"]))]
    return runs.reset_index(drop=True)


def _step(points: Mapping[str, BranchPoint], task: str) -> int:
    return (points[task].step or 0) if task in points else 0


def _definitions(runs: pd.DataFrame, path: Path) -> dict[str, str]:
    definitions = runs.groupby("task", sort=False)["definition"].unique()
    for task, names in definitions.items():
        if len(names) > 1:
            raise ValueError(
                f"Expected one final loss per task in column 'final_loss' of {path}, got {', '.join(names)} of {task}; "
                "correct the file or choose one with --final-loss."
            )
    return {str(task): str(names[0]) for task, names in definitions.items()}
