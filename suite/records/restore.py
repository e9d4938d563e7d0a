"""Reading an archive, or another store, into a store; see `suite.records.archive` for what stands in one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from suite.records.archive import FORMAT, MEASUREMENT, PER_STEP, PLANS, VERSION
from suite.records.files import StoreError, open_regular, parse_json
from suite.records.schema import PLAN, RECORD, fault
from suite.records.store import Diagnosed, Store

_ROWS_AT_ONCE = 64
_WRITERS = 8
_MOST_STEPS = 50_000_000
_MOST_GROUP_BYTES = 2**30
_MOST_PLANS_BYTES = 2**30


class Restored(NamedTuple):
    """What came of reading an archive or another store into a store.

    Attributes:
        written: ids of the runs whose records are new.
        there: of those that the store had, with the same status and final losses.
        other: of those that the store has with another result, which it keeps.
        plans: ids of the plans that are new or have grown.
        problems: what could not be read, as pairs of a name and a reason.
    """

    written: list[str]
    there: list[str]
    other: list[str]
    plans: list[str]
    problems: list[tuple[str, str]]


def restore(source: Path, store: Store) -> Restored:
    """Read an archive, or another store, into a store; nothing that the store has is changed but plans that grow.

    Raises:
        StoreError: the source is neither an archive nor a store, or the store cannot be written.
    """
    if source.is_dir():
        return _restore_store(Store.existing(source), store)
    restored = Restored([], [], [], [], [])
    # The disk answers several threads as fast as one: nearly all of the time is spent waiting for it.
    with _opened(source) as file, ThreadPoolExecutor(_WRITERS) as writers:
        for first, rows in _read_rows(file, source):
            runs = [run for run in _unpacked_rows(rows, first, source, restored) if _is_new(run[0], store, restored)]
            for written in [writers.submit(store.write_record, run[0], run[1], None, run[2]) for run in runs]:
                written.result()
        plans, wrong = _read_plans(file, source)
    restored.problems.extend(wrong)
    _merge_plans(plans, store, restored)
    return restored


def is_archive(path: Path) -> bool:
    """Whether a file is an archive that this suite reads."""
    try:
        _opened(path).close()
    except StoreError:
        return False
    return True


def _restore_store(source: Store, store: Store) -> Restored:
    restored = Restored([], [], [], [], [])
    if source.path.resolve() == store.path.resolve():
        raise StoreError(f"{source.path} is the store itself; name another with --store.")
    for record in source.records():
        if _is_new(record, store, restored):
            store.import_record(record["run_id"], source.export_record(record["run_id"]))
    _merge_plans(list(source.plans()), store, restored)
    restored.problems.extend(source.problems)
    return restored


def _is_new(record: Mapping[str, Any], store: Store, restored: Restored) -> bool:
    """Whether a record is to be written, noted in ``restored`` either way."""
    run_id = record["run_id"]
    if not store.settled(run_id):
        restored.written.append(run_id)
        return True
    kept = store.record(run_id) or {}
    same = all(kept.get(name) == record[name] for name in ("status", "final"))
    (restored.there if same or record["status"] not in ("finished", "diverged") else restored.other).append(run_id)
    return False


def _merge_plans(plans: Iterable[Mapping[str, Any]], store: Store, restored: Restored) -> None:
    """Write the plans that are new; to those that the store has, add the runs that they lack."""
    for plan in plans:
        kept = store.plan(plan["plan_id"])
        runs = kept["runs"] if kept else []
        ids = {run["run_id"] for run in runs}
        more = [run for run in plan["runs"] if run["run_id"] not in ids]
        if more or kept is None:
            store.write_plan({**plan, **(kept or {}), "runs": [*runs, *more]})
            restored.plans.append(plan["plan_id"])


def _opened(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(open_regular(path))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{path} should be an archive that this suite has written, but: {str(error)[:200]}."
        ) from error
    version = (file.schema_arrow.metadata or {}).get(FORMAT)
    if version != VERSION:
        said = "says nothing of it" if version is None else f"is of version {version.decode(errors='replace'):.20}"
        raise StoreError(f"{path} should be an archive of version {VERSION.decode()}, but {said}.")
    groups = range(file.metadata.num_row_groups)
    if any(file.metadata.row_group(number).total_byte_size > _MOST_GROUP_BYTES for number in groups):
        raise StoreError(f"{path} holds a group of rows larger than a gigabyte, which no archive does.")
    return file


def _read_rows(file: pq.ParquetFile, path: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Some rows at a time, each time with the number of the first."""
    first = 0
    try:
        for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            yield first, batch.to_pylist()
            first += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"The archive {path} is damaged ({str(error)[:200]}); what came before that, if anything, is restored."
        ) from error


def _unpacked_rows(
    rows: list[dict[str, Any]], first: int, source: Path, restored: Restored
) -> Iterator[tuple[dict[str, Any], pa.Table, Diagnosed | None]]:
    """See `_unpacked`; rows that are wrong become ``problems``."""
    for number, row in enumerate(rows, first):
        try:
            yield _unpacked(row)
        except (ValueError, TypeError, KeyError, AttributeError, pa.ArrowException) as error:
            restored.problems.append((f"row {number} of {source}", str(error)[:300]))


def _unpacked(row: Mapping[str, Any]) -> tuple[dict[str, Any], pa.Table, Diagnosed | None]:
    """The record, the curves with a row per step, and the measurements of an archived run.

    Raises:
        ValueError: they are not what they must be.
    """
    record = parse_json(row["record"].encode())
    if wrong := fault(record, RECORD, ""):
        raise ValueError(wrong)
    ends = np.array(row["ends"] or [], dtype=np.int64)
    rows = row["rows"]
    if not 0 <= rows <= _MOST_STEPS or (len(ends) and (np.any(np.diff(ends, prepend=0) < 1) or ends[-1] != rows)):
        raise ValueError(f"the parts of its curves should end at its {rows} steps")
    lengths = np.diff(ends, prepend=0)
    columns: dict[str, Any] = {"step": np.arange(rows)}
    for name in PER_STEP:
        if row[name] is not None:
            values = np.repeat(np.array(row[name], dtype=np.float64), lengths)
            columns[name] = values >= 0.5 if name == "clipped" else values
    for name, points in row["evaluations"] or []:
        if any(not 0 <= point["step"] < rows for point in points):
            raise ValueError(f"the evaluations {name} should lie within its {rows} steps")
        measured = np.full(rows, np.nan)
        for point in points:
            measured[point["step"]] = point["value"]
        columns[name] = pa.array(measured, from_pandas=True)
    said = record.pop("diagnostics", None) or {}
    record.pop("curves", None)
    diagnosed = None
    if row["diagnostics"] is not None:
        table = pa.Table.from_pylist(row["diagnostics"], pa.schema(list(MEASUREMENT)))
        diagnosed = Diagnosed(table, list(said.get("names", [])), float(said.get("seconds", 0)))
    return record, pa.table(columns), diagnosed


def _read_plans(file: pq.ParquetFile, path: Path) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The intact plans of an archive, and what is wrong with the others."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(file.schema_arrow.metadata[PLANS], _MOST_PLANS_BYTES)
        plans = parse_json(text) if unpacker.eof else None
    except (KeyError, ValueError, zlib.error) as error:
        return [], [(str(path), f"its plans cannot be read: {error}")]
    if not isinstance(plans, list):
        return [], [(str(path), "its plans cannot be read: they should be a list")]
    wrong = [(plan, fault(plan, PLAN, "")) for plan in plans]
    return [plan for plan, reason in wrong if reason is None], [
        (f"a plan of {path}", reason) for _, reason in wrong if reason is not None
    ]
