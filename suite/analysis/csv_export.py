"""The runs of a sweep as a CSV that `suite.analysis.csv_import` reads back: the same tables without the store."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from suite.analysis.branches import BranchPoint, branch_points
from suite.analysis.csv_import import HISTORY, VAL_HISTORY
from suite.analysis.csv_text import inert
from suite.analysis.table import load_runs, panel_losses
from suite.records import Store, StoreError
from suite.records.files import explain, write_atomically

COLUMNS = {
    "run_name": "the run's id in the store",
    "data": "the task, or the panel's label with its branch point",
    "opt": "label of the optimizer",
    "bs": "batch size",
    "lr": "learning rate, where the sweep varies it",
    "mom": "momentum or beta, where the sweep varies it",
    "seed": "seed of initial weights and data order",
    "setting": "the values on all axes of the grid, a JSON object; counts before lr and mom",
    "status": "finished, diverged, failed, interrupted or missing",
    "steps": "planned optimizer steps",
    "round": "0, or the number of the grid's extension that added the run",
    "role": "empty; reporting: repeats a chosen setting with another seed; trunk: other runs start from it",
    "panel": "of a branch: label of its panel in the sweep's YAML",
    "trunk": "of a branch: the optimizer of its trunk",
    "share": "of a branch: share of the trunk's steps after which it starts",
    "final_loss": "definition of the final loss by which the sweep compares",
    HISTORY: "train loss of every step",
    VAL_HISTORY: "validation loss of every step after which it was measured, else nan",
}
"""The columns of an export, and what they hold."""


def export_csv(store: Store, plan: Mapping[str, Any], path: Path) -> int:
    """Write every run of a plan, with its losses, as a CSV; a file of an earlier call is replaced.

    Args:
        store: where the records are.
        plan: see `suite.records.Store.plan`.
        path: of the file.

    Returns:
        The number of rows.

    Raises:
        ValueError: the file cannot be written, or the losses of a run with a result are gone or damaged.
    """
    runs, trunks = load_runs(store, plan), load_runs(store, plan, trunks=True)
    parts = [trunks.assign(role="trunk"), runs.assign(role=runs["reporting"].map({True: "reporting", False: ""}))]
    every = pd.concat([part for part in parts if len(part)], ignore_index=True) if len(runs) + len(trunks) else runs
    points, by_panel = branch_points(plan), panel_losses(plan)

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.DictWriter(file, list(COLUMNS))
            rows.writeheader()
            for run in every.itertuples(index=False):
                at = points.get(run.task)
                definition = by_panel.get(run.task, plan["final_loss"])
                cells = {**_cells(run, at), "final_loss": definition, **_histories(store, run)}
                rows.writerow({name: inert(cell) for name, cell in cells.items()})

    try:
        write_atomically(path, write)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({explain(error)}); change --export.") from error
    return len(every)


def _cells(run: Any, at: BranchPoint | None) -> dict[str, object]:
    setting = dict(run.setting)
    momenta = [setting[name] for name in ("momentum", "beta") if name in setting]
    return {
        "run_name": run.run_id,
        "data": run.task,
        "opt": run.optimizer,
        "bs": run.batch_size,
        "lr": setting.get("lr", ""),
        "mom": momenta[0] if momenta else "",
        "seed": run.seed,
        "setting": json.dumps(setting),
        "status": run.status,
        "steps": run.steps,
        "round": run.round,
        "role": run.role,
        **({} if at is None else {"panel": at.panel, "trunk": at.trunk, "share": at.share}),
    }


def _histories(store: Store, run: Any) -> dict[str, str]:
    """The losses of a run with a result; none of others."""
    if run.status not in ("finished", "diverged"):
        return {HISTORY: "[]", VAL_HISTORY: "[]"}
    try:
        curves = store.curves(run.run_id)
    except (StoreError, OSError, pa.ArrowException) as error:
        raise ValueError(f"The losses of run {run.run_id} cannot be exported: {error}") from error
    names = {HISTORY: "train_loss", VAL_HISTORY: "val/loss"}
    return {
        column: _list(curves.column(name).to_pylist()) if name in curves.column_names else "[]"
        for column, name in names.items()
    }


def _list(losses: Iterable[float | None]) -> str:
    """A list of losses in paper 1's way: a loss that was not finite is quoted, a step without one is nan."""
    return f"[{', '.join('nan' if x is None else repr(x) if math.isfinite(x) else repr('NaN') for x in losses)}]"
