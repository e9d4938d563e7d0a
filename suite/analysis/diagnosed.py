"""What diagnostics measured along the runs of the tuned points, as one long table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from suite.records import Store, StoreError

DiagnosticReader = Callable[[str], pd.DataFrame | None]
"""Run id to the table of its diagnostics, see `suite.records.Diagnosed`; None where the run has none."""

KEY = ["diagnostic", "quantity", "group", "step"]


def store_diagnostics(store: Store, plans: Iterable[Mapping[str, Any]] = ()) -> DiagnosticReader:
    """A reader from a store; tables that cannot be read are named in ``store.problems``.

    Args:
        store: where the runs are.
        plans: plans of sweeps; for a run that was trained again with diagnostics, the later training's table is read.
    """
    again = {run["diagnoses"]: run["run_id"] for plan in plans for run in plan["runs"] if run.get("diagnoses")}

    def read(run_id: str) -> pd.DataFrame | None:
        run_id = again.get(run_id, run_id)
        try:
            table = store.diagnostics(run_id)
        except (StoreError, OSError, pa.ArrowException) as error:
            store.name_problem(store.run_folder(run_id) / "diagnostics.parquet", str(error))
            return None
        return None if table is None else table.to_pandas()

    return read


def diagnosed_points(tuned: pd.DataFrame, read: DiagnosticReader) -> pd.DataFrame:
    """What was measured at every tuned point.

    Args:
        tuned: see `suite.analysis.tuned.tuned_points`.
        read: reads a run's diagnostics.

    Returns:
        Columns ``task``, ``optimizer``, ``batch_size``, ``diagnostic``, ``quantity``, ``group``, ``step`` and
        ``value``: the mean over the point's seeds, infinite values (ratios to weights that are zero) left out. Rows of
        one quantity are in the order in which they were measured.
    """
    frames = []
    for point in tuned.itertuples(index=False):
        seeds = [frame for frame in map(read, point.run_ids) if frame is not None]
        if not seeds:
            continue
        whole = pd.concat(seeds)
        whole = whole[np.isfinite(whole["value"].to_numpy(dtype=float))]
        mean = whole.groupby(KEY, sort=False)["value"].mean().reset_index()
        frames.append(mean.assign(task=point.task, optimizer=point.optimizer, batch_size=point.batch_size))
    columns = ["task", "optimizer", "batch_size", *KEY, "value"]
    return pd.concat(frames)[columns].reset_index(drop=True) if frames else pd.DataFrame(columns=columns)


def chosen(points: pd.DataFrame, quantity: str, *, groups: bool) -> pd.DataFrame:
    """The rows of one quantity of one diagnostic: those of its groups, or those of the whole network."""
    rows = points[points["quantity"] == quantity]
    return rows[(rows["group"] != "") == groups]


def reduced(rows: pd.DataFrame, at: str) -> pd.DataFrame:
    """One value per group (and optimizer, batch size) over the steps.

    Args:
        rows: see `chosen`.
        at: ``first``, ``last`` or ``median``.

    Returns:
        Columns of ``rows`` but ``step``.
    """
    keys = ["task", "optimizer", "batch_size", "diagnostic", "quantity", "group"]
    ordered = rows.sort_values("step", kind="stable").groupby(keys, sort=False)["value"]
    return getattr(ordered, at)().reset_index()


def group_gaps(points: pd.DataFrame, reference: str, challenger: str) -> pd.DataFrame:
    """The gap of each frequency group: the reference's last loss on it minus the challenger's.

    Positive: the challenger is better on these classes, as in `suite.analysis.gap`.

    Returns:
        Columns ``task``, ``batch_size``, ``group`` (1: the most frequent classes) and ``gap``.
    """
    losses = chosen(points[points["diagnostic"] == "frequency"], "loss", groups=True)
    last = reduced(losses, "last")
    table = last.pivot_table(index=["task", "batch_size", "group"], columns="optimizer", values="value", sort=False)
    if reference not in table or challenger not in table:
        return pd.DataFrame(columns=["task", "batch_size", "group", "gap"])
    return (table[reference] - table[challenger]).rename("gap").dropna().reset_index()
