"""Archives: the records and plans of a store in one compressed Parquet file, and back.

An archive has a row per run: what one sorts and filters by in columns of their own, the whole record as JSON, and the
curves. A curve of many steps is thinned: the budget is cut into equal parts, and each keeps the mean of its steps,
rounded to five digits. Final losses and evaluations are kept as they are, so tuned points, gaps and verdicts of an
archive are those of its store to the last bit. Weights and checkpoints are not archived. The plans stand in the file's
metadata.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from suite.records.files import StoreError, explain, write_atomically
from suite.records.final_loss import FINAL_LOSSES
from suite.records.store import Store

POINTS = 100
"""Parts into which the steps of a curve are cut, if nothing else is said."""

VERSION = b"1"
FORMAT, PLANS = b"suite.archive", b"suite.plans"
PER_STEP = ("train_loss", "lr", "grad_norm", "clipped")
_EVALUATION = pa.struct([("step", pa.int64()), ("value", pa.float64())])
MEASUREMENT = pa.struct(
    [
        ("step", pa.int64()),
        *((name, pa.string()) for name in ("diagnostic", "quantity", "group")),
        ("value", pa.float64()),
    ]
)
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("run_id", "task", "optimizer", "settings")),
        *((name, pa.int64()) for name in ("batch_size", "seed", "steps")),
        ("status", pa.string()),
        *((f"final_{name}", pa.float64()) for name in FINAL_LOSSES),
        ("seconds", pa.float64()),
        ("record", pa.string()),
        ("rows", pa.int64()),
        ("ends", pa.list_(pa.int32())),
        *((name, pa.list_(pa.float32())) for name in PER_STEP),
        ("evaluations", pa.map_(pa.string(), pa.list_(_EVALUATION))),
        ("diagnostics", pa.list_(MEASUREMENT)),
    ]
)
_ROWS_PER_GROUP = 512


def write_archive(store: Store, path: Path, plan: Mapping[str, Any] | None = None, points: int | None = POINTS) -> int:
    """Write the records and plans of a store into one file.

    Args:
        store: ``problems`` names what it could not read.
        path: the file; one that is there is replaced when the new one is whole.
        plan: a plan whose runs alone are written, and those from whose weights they start; None: everything.
        points: means that are kept of a curve at most; None: every step.

    Returns:
        The number of runs.

    Raises:
        StoreError: there is nothing to write, or the file cannot be written.
    """
    plans = list(store.plans()) if plan is None else [dict(plan)]
    wanted = None if plan is None else _runs_of(plan)
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        kept = zlib.compress(json.dumps(plans, allow_nan=False).encode(), 9)
        schema = _SCHEMA.with_metadata({FORMAT: VERSION, PLANS: kept})
        with pq.ParquetWriter(temporary, schema, compression="zstd", compression_level=12) as file:
            for rows in _groups(_rows(store, wanted, points)):
                file.write_table(pa.Table.from_pylist(rows, schema))
                count += len(rows)
        if not count:
            raise StoreError(f"There is no record to archive in {store.path}; run the sweep first.")

    try:
        write_atomically(path, write)
    except OSError as error:
        raise StoreError(f"The archive {path} could not be written ({explain(error)}).") from error
    return count


def _runs_of(plan: Mapping[str, Any]) -> set[str]:
    starts = {run["initial"][0] for run in plan["runs"] if run.get("initial")}
    return {run["run_id"] for run in plan["runs"]} | starts


def _rows(store: Store, wanted: Collection[str] | None, points: int | None) -> Iterator[dict[str, Any]]:
    for record in store.records():
        if wanted is not None and record["run_id"] not in wanted:
            continue
        try:
            curves, diagnosed = store.curves(record["run_id"]), store.diagnostics(record["run_id"])
        except StoreError as error:
            store.name_problem(store.run_folder(record["run_id"]), f"is not archived: {error}")
            continue
        yield _row(record, curves, diagnosed, points)


def _row(record: Mapping[str, Any], curves: pa.Table, diagnosed: pa.Table | None, points: int | None) -> dict[str, Any]:
    named = record["optimizer"]
    row = {name: record[name] for name in ("run_id", "task", "batch_size", "seed", "steps", "status")}
    row |= {f"final_{name}": record["final"].get(name) for name in FINAL_LOSSES}
    row["optimizer"] = named["name"]
    row["settings"] = json.dumps({key: value for key, value in named.items() if key != "name"})
    row["seconds"] = (record.get("seconds") or {}).get("total")
    row["rows"] = curves.num_rows
    ends = _ends(curves.num_rows, points)
    thinned = len(ends) < curves.num_rows
    row["ends"] = ends
    for name in PER_STEP:
        if name in curves.column_names:
            row[name] = _means(curves.column(name).to_numpy().astype(float), ends, thinned=thinned)
    row["evaluations"] = [
        (name, _measured(curves.column(name).to_pylist()))
        for name in curves.column_names
        if name not in (*PER_STEP, "step")
    ]
    row["diagnostics"] = None if diagnosed is None else diagnosed.select(MEASUREMENT.names).to_pylist()
    kept = {**record, "thinned": len(ends)} if thinned else dict(record)
    row["record"] = json.dumps(kept, allow_nan=False)
    return row


def _ends(steps: int, points: int | None) -> np.ndarray:
    """Where the parts of a curve end: ascending, the last at ``steps``."""
    count = steps if points is None else min(points, steps)
    return np.arange(1, count + 1, dtype=np.int64) * steps // max(count, 1)


def _means(values: np.ndarray, ends: np.ndarray, *, thinned: bool) -> np.ndarray:
    """Mean of each part, shape ``[parts]``; as they are where every part is one step."""
    if not thinned:
        return values.astype(np.float32)
    starts = np.concatenate(([0], ends[:-1]))
    means = (np.add.reduceat(values, starts) / (ends - starts)).astype(np.float32)
    # Seven bits of the mantissa less: 8e-6 of the value, and a file of half the size.
    return ((means.view(np.uint32) + 0x40) & np.uint32(0xFFFFFF80)).view(np.float32)


def _measured(values: list[float | None]) -> list[dict[str, Any]]:
    return [{"step": step, "value": value} for step, value in enumerate(values) if value is not None]


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == _ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group
