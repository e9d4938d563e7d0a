"""The store: a folder of records and plans, in which every file is written atomically and broken files are reported."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from suite.records.files import (
    StoreError,
    explain,
    make_folder,
    open_regular,
    parse_json,
    read_json,
    sha256_of,
    write_atomically,
)
from suite.records.final_loss import SETTLED
from suite.records.identity import contradiction
from suite.records.lease import Lease, is_live
from suite.records.schema import PLAN, RECORD, fault
from suite.records.tables import Write, read_table, write_table, wrong_final

SCHEMA = 1

RECORD_FILES = ("curves.parquet", "diagnostics.parquet", "record.json")
"""The files of a record, in the order of writing; ``diagnostics.parquet`` only for a run with diagnostics."""

_WEIGHTS = re.compile(r"weights_\d+\.pt")

_RUN_FILES = {*RECORD_FILES, "lease.json", "checkpoint.ckpt", "final.ckpt"}

_MOST_PLAN_BYTES = 2**30


class Diagnosed(NamedTuple):
    """The measurements of a run's diagnostics.

    Attributes:
        table: columns ``step``, ``diagnostic``, ``quantity``, ``group`` (a layer, role, decile, ... or empty) and
            ``value``.
        names: the diagnostics that were requested.
        seconds: wall time that they took.
    """

    table: pa.Table
    names: list[str]
    seconds: float


class Store:
    """The folder that holds the records of runs and the plans of sweeps.

    ``runs/<two digits>/<run id>/`` holds a run's `record.json` and `curves.parquet`, its `diagnostics.parquet` if
    diagnostics were requested, the weights that other runs start from and, while the run is being trained, its lease
    and checkpoint. ``sweeps/<plan id>/plan.json`` holds the plan of a sweep.

    Args:
        path: the folder; it is created by the first write.

    Attributes:
        problems: broken files that were skipped since `records` last began, as pairs of path and reason, each once.

    Raises:
        ValueError: the path is that of a file.
    """

    def __init__(self, path: str | Path) -> None:
        if path == "":
            raise ValueError("The store must be a folder, got ''; give --store a name.")
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"The store {path} must be a folder, but it is none; give another --store.")
        self._problems: dict[tuple[str, str], None] = {}
        self._leases: weakref.WeakValueDictionary[str, Lease] = weakref.WeakValueDictionary()

    @classmethod
    def existing(cls, path: str | Path) -> Store:
        """The store in a folder.

        Raises:
            ValueError: there is none.
        """
        store = cls(path)
        runs, sweeps = store.path / "runs", store.path / "sweeps"
        if any((runs / name).is_dir() for name in ("runs", "sweeps")):
            raise ValueError(f"There should be a store in {path}, but it is one folder deeper; take {runs}.")
        if not runs.is_dir() and not sweeps.is_dir():
            raise ValueError(f"There should be a store in {path}, with a folder runs or sweeps, but there is none.")
        return store

    @property
    def problems(self) -> list[tuple[str, str]]:
        """See the class."""
        return list(self._problems)

    def name_problem(self, path: Path, reason: str) -> None:
        """Add a broken file to ``problems``."""
        self._problems[str(path), reason] = None

    def run_folder(self, run_id: str) -> Path:
        """Folder of one run, whether it exists or not."""
        return self.path.joinpath("runs", run_id[:2], run_id)  # one join: a sweep calls this a hundred thousand times

    def lease(self, run_id: str) -> Lease:
        """The right to train one run; see `Lease`."""
        lease = self._leases[run_id] = Lease(self.run_folder(run_id) / "lease.json", self.path)
        return lease

    def is_being_trained(self, run_id: str) -> bool:
        """Whether a living process holds the run's lease."""
        return is_live(self.run_folder(run_id) / "lease.json")

    def record(self, run_id: str) -> dict[str, Any] | None:
        """The record of one run; None if there is none, or if it is broken (``problems`` then lists it)."""
        return self._read_record(self.run_folder(run_id) / "record.json")

    def settled(self, run_id: str, weights: Sequence[int] = ()) -> bool:
        """Whether the run has a result: finished, with its weights after the steps ``weights``, or diverged."""
        record = self.record(run_id)
        if record is None or record["status"] not in SETTLED:
            return False
        return record["status"] != "finished" or all(self._weights(run_id, step).is_file() for step in weights)

    def weights(self, run_id: str, step: int) -> Path:
        """File of a finished run's weights after a step.

        Raises:
            StoreError: the run has not finished, has no such weights, or their checksum differs from its record's.
        """
        record, path = self.record(run_id), self._weights(run_id, step)
        if record is None or record["status"] != "finished":
            state = "no record" if record is None else f"status {record['status']}"
            raise StoreError(
                f"A run can start from another's weights only when that has finished; run {run_id} has {state} in "
                f"{self.path}; train it first, with model.keep_weights_at [{step}]."
            )
        if _checksum(path) != (record.get("weights") or {}).get(str(step), ""):
            raise StoreError(
                f"Run {run_id} in {self.path} should have its weights after step {step} beside its record, as they "
                f"were written; train it again with model.keep_weights_at [{step}]."
            )
        return path

    def write_weights(self, run_id: str, step: int, write: Callable[[Path], object]) -> None:
        """Write a run's weights after a step; ``write`` is called with the path of a temporary file.

        Raises:
            LeaseHeld: another process has taken over the run, whose lease this store had given out.
            StoreError: the folder cannot be written.
        """
        with self._writing(f"The weights of run {run_id}"):
            self._writer(run_id, self._leases.get(run_id))(self._weights(run_id, step), write)

    def sums_of_weights(self, run_id: str, steps: Sequence[int]) -> dict[str, str]:
        """SHA-256 checksums of the weights that a run has kept after ``steps``, by step."""
        kept = {str(step): _checksum(self._weights(run_id, step)) for step in steps}
        return {step: checksum for step, checksum in kept.items() if checksum is not None}

    def pack_checkpoint(self, name: str) -> Path:
        """File of the checkpoint of a pack of runs; its folder is made.

        Raises:
            StoreError: the folder cannot be made, or is a link that leads out of the store.
        """
        folder = self.path / "packs" / name
        with self._writing("The checkpoint of a pack"):
            make_folder(folder, self.path)
        return folder / "checkpoint.ckpt"

    def records(self) -> Iterator[dict[str, Any]]:
        """Every intact record, in order of run id; ``problems`` then lists the broken ones."""
        self._problems = {}
        for path in sorted(self.path.glob("runs/*/*/record.json")):
            record = self._read_record(path)
            if record is not None:
                yield record

    def curves(self, run_id: str) -> pa.Table:
        """A run's per-step curves.

        Raises:
            StoreError: there are none, or their checksum differs from the record's.
        """
        return self._table(run_id, "curves")

    def diagnostics(self, run_id: str) -> pa.Table | None:
        """The measurements of a run's diagnostics, the table of `Diagnosed`; None for a run without diagnostics.

        Raises:
            StoreError: the file is gone, or its checksum differs from the record's.
        """
        record = self.record(run_id)
        return None if record is None or not record.get("diagnostics") else self._table(run_id, "diagnostics")

    def _table(self, run_id: str, name: str) -> pa.Table:
        record = self.record(run_id)
        path = self.run_folder(run_id) / f"{name}.parquet"
        if record is None or not path.exists():
            raise StoreError(f"Run {run_id} has no {name} in {self.path}; train it again with --rerun.")
        try:
            with open_regular(path) as file:
                return read_table(file, name, record.get(name) or {})
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"The {name} of run {run_id} are not those of its record ({error}); train it again with --rerun."
            ) from error

    def write_record(
        self, record: dict[str, Any], curves: pa.Table, lease: Lease | None = None, diagnosed: Diagnosed | None = None
    ) -> None:
        """Write a run's curves and diagnostics, then its record; a reader never sees a record without them.

        Only a result replaces a result: if the run has one and this training was interrupted or failed, nothing is
        written.

        Args:
            record: plain values.
            curves: one row per step.
            lease: the run's lease; nothing is written unless it is still held.
            diagnosed: the measurements of the run's diagnostics; None for a run without diagnostics.

        Raises:
            LeaseHeld: another process has taken the run over while this process was suspended.
            StoreError: the folder cannot be written or is gone; earlier records are unchanged.
        """
        folder = self.run_folder(record["run_id"])
        if lease is not None:
            lease.check()
        if record["status"] not in SETTLED and self.settled(record["run_id"]):
            return
        with self._writing(f"The record of run {record['run_id']}"):
            write = self._writer(record["run_id"], lease)
            self._set_aside(folder / "record.json", self._read_record)
            written = write_table(folder / "curves.parquet", curves, write, record["final"])
            whole = {**record, "schema": SCHEMA, "curves": written}
            if diagnosed is not None:
                written = write_table(folder / "diagnostics.parquet", diagnosed.table, write)
                whole["diagnostics"] = {"names": diagnosed.names, "seconds": diagnosed.seconds, **written}
            _write_json(folder / "record.json", whole, write)

    def export_record(self, run_id: str, weights: Sequence[int] | None = None) -> dict[str, bytes]:
        """The contents of a run's files by name, to be copied to another store; empty if the run has no record.

        Args:
            run_id: the run's id.
            weights: steps whose weights are included; None: all that were kept.
        """
        record = self.record(run_id)
        if record is None:
            return {}
        kept = map(int, record.get("weights") or {})
        paths = [self._weights(run_id, step) for step in kept if weights is None or step in weights]
        paths += [self.run_folder(run_id) / name for name in RECORD_FILES]
        contents = {}
        for path in filter(Path.exists, paths):
            with open_regular(path) as file:
                contents[path.name] = file.read()
        return contents

    def import_record(self, run_id: str, files: Mapping[str, bytes], lease: Lease | None = None) -> None:
        """Write a record that `export_record` returned for another store.

        Raises:
            LeaseHeld: another process has taken the run over.
            StoreError: the files are not a whole record of this run, or the folder cannot be written.
        """
        try:
            record = parse_json(files["record.json"])
            tables = [name for name in ("curves", "diagnostics") if name == "curves" or record.get(name)]
            sums = {name: hashlib.sha256(files[f"{name}.parquet"]).hexdigest() for name in tables}
            whole = record["run_id"] == run_id and all(record[name]["sha256"] == sums[name] for name in tables)
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            raise StoreError(f"The record of run {run_id} arrived broken from another machine; train it again.")
        if lease is not None:
            lease.check()
        folder = self.run_folder(run_id)
        with self._writing(f"The record of run {run_id}"):
            write = self._writer(run_id, lease)
            self._set_aside(folder / "record.json", self._read_record)
            for name in (*filter(_WEIGHTS.fullmatch, files), *(name for name in RECORD_FILES if name in files)):
                write(folder / name, functools.partial(Path.write_bytes, data=files[name]))

    def plan(self, plan_id: str) -> dict[str, Any] | None:
        """The plan of one sweep; None if the sweep was never started here or its plan is broken."""
        return self._read_plan(self._plan_file(plan_id))

    def plans(self) -> Iterator[dict[str, Any]]:
        """Every intact plan, in order of name."""
        folders = (Path(entry.path) for entry in _entries(self.path / "sweeps") if entry.is_dir())
        yield from (plan for folder in folders if (plan := self._read_plan(folder / "plan.json")) is not None)

    def latest_plans(self) -> list[dict[str, Any]]:
        """The newest plan of each sweep, by name; a sweep whose YAML was changed has several plans."""
        in_order = sorted(self.plans(), key=lambda plan: self._plan_file(plan["plan_id"]).stat().st_mtime_ns)
        by_name = {plan["name"]: plan for plan in in_order}
        return [by_name[name] for name in sorted(by_name)]

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Write (or, after an extension, replace) a sweep's plan; a broken one is kept beside it.

        Raises:
            StoreError: the folder cannot be written.
        """
        path = self._plan_file(plan["plan_id"])
        with self._writing(f"The plan {plan['plan_id']}"):
            make_folder(path.parent, self.path)
            self._set_aside(path, self._read_plan)
            _write_json(path, {**plan, "schema": SCHEMA}, write_atomically)

    def foreign_files(self) -> Iterator[tuple[str, str]]:
        """Files under ``runs`` that belong to no current record, as pairs of path and reason; none is changed."""
        for shelf in _entries(self.path / "runs"):
            for folder in _entries(Path(shelf.path)) if shelf.is_dir() else [shelf]:
                if not folder.is_dir() or shelf.name != folder.name[:2]:
                    yield folder.path, "is not a run's folder"
                    continue
                for file in _entries(Path(folder.path)):
                    if "set_aside" in file.name:
                        yield file.path, "was broken or of another version, and is kept beside the record made since"
                    elif not (file.name in _RUN_FILES or _WEIGHTS.fullmatch(file.name) or file.name.startswith(".")):
                        yield file.path, "is no file of a run"

    def _plan_file(self, plan_id: str) -> Path:
        return self.path / "sweeps" / plan_id / "plan.json"

    def _weights(self, run_id: str, step: int) -> Path:
        return self.run_folder(run_id) / f"weights_{step}.pt"

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Turn an operating-system error into one sentence that names what could not be written."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{what} could not be written to the store {self.path} ({explain(error)}); make room or give another "
                "--store: earlier records are intact, and the same command goes on from what was kept."
            ) from error

    def _writer(self, run_id: str, lease: Lease | None) -> Write:
        """How a run's files are written: under its lease, if there is one."""
        if lease is not None:
            return lease.write
        make_folder(self.run_folder(run_id), self.path)
        return write_atomically

    def _set_aside(self, path: Path, read: Callable[[Path], dict[str, Any] | None]) -> None:
        """Keep a record or plan that this version cannot read under another name: a new one is about to replace it."""
        if os.path.lexists(path) and read(path) is None:
            number = sum(1 for _ in path.parent.glob(f"{path.stem}.set_aside_*.json"))
            aside = path.with_name(f"{path.stem}.set_aside_{number}.json")
            if path.is_dir():
                os.replace(path, aside)
            else:  # not moved: another process may have replaced it just now
                os.link(path, aside, follow_symlinks=False)

    def _read_record(self, path: Path) -> dict[str, Any] | None:
        record = self._read_json(path)
        if record is None:
            return None
        if wrong := fault(record, RECORD, ""):
            return self._refuse(path, wrong)
        if record["run_id"] != path.parent.name:
            return self._refuse(path, f"is the record of run {record['run_id']}, in another run's folder")
        if record["status"] in SETTLED and (wrong := wrong_final(record, path.with_name("curves.parquet"))):
            return self._refuse(path, wrong)
        if wrong := contradiction(record):
            return self._refuse(path, wrong)
        return record

    def _refuse(self, path: Path, reason: str) -> dict[str, Any] | None:
        """Name a file among the ``problems``; returns None, as for a missing file."""
        self.name_problem(path, reason)
        return None

    def _read_plan(self, path: Path) -> dict[str, Any] | None:
        plan = self._read_json(path, _MOST_PLAN_BYTES)
        if plan is None:
            return None
        if wrong := fault(plan, PLAN, ""):
            return self._refuse(path, wrong)
        if plan["plan_id"] != path.parent.name:
            return self._refuse(path, f"is the plan {plan['plan_id']!r:.80}, in another sweep's folder")
        return plan

    def _read_json(self, path: Path, *most_bytes: int) -> dict[str, Any] | None:
        try:
            content = read_json(path, *most_bytes)
        except FileNotFoundError:
            return self._refuse(path, "is a link that leads nowhere") if path.is_symlink() else None
        except (OSError, ValueError) as error:
            return self._refuse(path, f"cannot be read: {error}")
        if not isinstance(content, dict):
            return self._refuse(path, f"should be a JSON object, got a {type(content).__name__}")
        if content.get("schema") != SCHEMA:
            return self._refuse(path, f"has schema {content.get('schema')!r:.40}, this version reads {SCHEMA}")
        return content


def _checksum(path: Path) -> str | None:
    """Checksum of a file; None where there is none, or no regular one."""
    try:
        with open_regular(path) as file:
            return sha256_of(file)
    except OSError:
        return None


def _write_json(path: Path, content: Mapping[str, Any], write: Write) -> None:
    text = json.dumps(content, indent=1, allow_nan=False)
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
