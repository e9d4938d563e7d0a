"""The tables beside a record: written with their checksum and final losses, read strictly, held against the record."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from suite.records.files import open_regular, sha256_of
from suite.records.final_loss import final_losses

_FINAL = b"suite.final"
"""Key in the file of the curves under which the final losses stand that were computed from them."""

_ROUNDING = 1e-12
"""Relative difference of final losses that computing them in another way may make."""

_MOST_ROWS_PER_BYTE = 100
_LEAST_ROWS = 1_000_000

_COLUMNS = {
    "curves": {"train_loss": pa.types.is_floating},
    "diagnostics": {
        "step": pa.types.is_integer, "diagnostic": pa.types.is_string, "quantity": pa.types.is_string,
        "group": pa.types.is_string, "value": pa.types.is_floating,
    },
}  # fmt: skip

Write = Callable[[Path, Callable[[Path], object]], None]
"""Writes a file in one step, see `suite.records.files.write_atomically`."""


def wrong_final(record: Mapping[str, Any], path: Path) -> str | None:
    """Why the final losses of a settled record cannot be believed; None: they are those of the curves at ``path``.

    A run that diverged has none. Curves that cannot be read, or are not those of the record, say nothing against it.
    """
    recorded, is_finished = record["final"], record["status"] == "finished"
    if is_finished and "ema" not in recorded:
        return "'final' should hold ema, for the run has finished"
    try:
        with open_regular(path) as file:
            computed = _final_of(pq.ParquetFile(file))
            wrong = [x for x in computed if not (is_finished and _is_same(recorded.get(x), computed[x]))]
            if not wrong or sha256_of(file) != (record.get("curves") or {}).get("sha256"):
                return None
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException):
        return None
    if not is_finished:
        return f"says that the run {record['status']}, the curves beside it are those of one that finished"
    said = repr(recorded[wrong[0]]) if wrong[0] in recorded else "nothing"
    return f"says {said} for the final loss {wrong[0]}, the curves beside it give {computed[wrong[0]]!r}"


def _is_same(recorded: float | None, computed: float) -> bool:
    return recorded is not None and math.isclose(recorded, computed, rel_tol=_ROUNDING)


def _final_of(curves: pq.ParquetFile) -> dict[str, float]:
    """The final losses that go with curves: those that stand in their file, else they are computed from the curves.

    Empty where a loss is not finite.
    """
    kept = (curves.metadata.metadata or {}).get(_FINAL)
    if kept is not None:
        return dict(json.loads(kept))
    columns = [name for name in ("train_loss", "val/loss") if name in curves.schema_arrow.names]
    values = curves.read(columns=columns, use_threads=False).to_pydict()
    losses = values["train_loss"]
    if not losses or None in losses or not all(map(math.isfinite, losses)):
        return {}
    return final_losses(losses, next((x for x in reversed(values.get("val/loss", [])) if x is not None), None))


def read_table(file: io.BufferedReader, name: str, written: Mapping[str, Any]) -> pa.Table:
    """The table in an open file.

    Args:
        file: at its start.
        name: ``curves`` or ``diagnostics``.
        written: what the record says of it, see `write_table`.

    Raises:
        ArrowException: it is not the table that the record speaks of, lacks a column, or is so small that its rows
            would fill the memory from next to nothing.
    """
    parquet = pq.ParquetFile(file)
    rows = parquet.metadata.num_rows
    if rows != written.get("rows") or rows > max(_LEAST_ROWS, _MOST_ROWS_PER_BYTE * os.fstat(file.fileno()).st_size):
        raise pa.ArrowInvalid(f"{rows} rows where the record says {written.get('rows')}")
    for column, right in _COLUMNS[name].items():
        if column not in parquet.schema_arrow.names or not right(parquet.schema_arrow.field(column).type):
            raise pa.ArrowInvalid(f"no column {column} of the right type")
    if sha256_of(file) != written.get("sha256"):
        raise pa.ArrowInvalid("another checksum")
    return parquet.read(use_threads=False)  # a thread that still holds the file when Python ends would abort it


def write_table(path: Path, table: pa.Table, write: Write, final: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Write a table; returns what its record says of it.

    Args:
        path: where it goes.
        table: the curves, or the measurements of diagnostics.
        write: writes a file in one step.
        final: final losses, to stand in the file.
    """
    sums: list[str] = []
    if final is not None:
        table = table.replace_schema_metadata({_FINAL: json.dumps(final, allow_nan=False)})

    def written(temporary: Path) -> None:
        pq.write_table(table, temporary)
        with open_regular(temporary) as file:
            sums.append(sha256_of(file))

    write(path, written)
    return {"rows": table.num_rows, "sha256": sums[0]}
