"""Dropped runs: out of a store's way, in its bin, until they are brought back or the bin is emptied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from suite.records.files import StoreError, explain, make_folder
from suite.records.store import Store


def find_run(store: Store, start: str) -> str:
    """The id of the one run of a store whose id begins so.

    Raises:
        ValueError: there is none, or there are several.
    """
    return _one(store.path / "runs" / start[:2] if len(start) >= 2 else store.path / "runs", start, store)


def drop(store: Store, run_id: str) -> Path:
    """Move a run's folder into the store's bin; returns where it is.

    Raises:
        StoreError: a process is training it, the bin has it already, or it cannot be moved.
    """
    if store.is_being_trained(run_id):
        raise StoreError(f"Run {run_id} is being trained; stop that first (python -m suite stop, for a sweep).")
    return _move(store, store.run_folder(run_id), _bin(store) / run_id)


def bring_back(store: Store, start: str) -> str:
    """Move the run whose id begins so from the bin back to its place; returns its id.

    Raises:
        ValueError: the bin has no such run, or several.
        StoreError: the store has it anew, or it cannot be moved.
    """
    run_id = _one(_bin(store), start, store)
    _move(store, _bin(store) / run_id, store.run_folder(run_id))
    return run_id


def dropped(store: Store) -> list[str]:
    """Ids of the runs in the bin."""
    return sorted(path.name for path in _bin(store).iterdir()) if _bin(store).is_dir() else []


def empty(store: Store) -> int:
    """Delete what is in the bin; returns the number of runs.

    Raises:
        StoreError: it cannot be deleted.
    """
    runs = dropped(store)
    try:
        if _bin(store).is_symlink():
            raise StoreError(f"The bin of {store.path} is a link, and what it leads to is not the store's; remove it.")
        for run_id in runs:
            shutil.rmtree(_bin(store) / run_id)
    except OSError as error:
        raise StoreError(f"The bin of {store.path} cannot be emptied ({explain(error)}).") from error
    return len(runs)


def _bin(store: Store) -> Path:
    return store.path / "bin"


def _one(folder: Path, start: str, store: Store) -> str:
    ids = sorted(path.name for path in folder.glob("*" if folder != store.path / "runs" else "*/*") if path.is_dir())
    ids = [run_id for run_id in ids if run_id.startswith(start)]
    if len(ids) == 1:
        return ids[0]
    is_bin = folder == _bin(store)
    where = f"the bin of {store.path}" if is_bin else str(store.path)
    if ids:
        named = ", ".join(ids[:3])
        raise ValueError(f"{len(ids)} runs in {where} begin with {start!r}, such as {named}; give more of the id.")
    lists = f"it holds {', '.join(dropped(store)) or 'nothing'}" if is_bin else "`python -m suite runs` lists them"
    raise ValueError(f"No run in {where} begins with {start!r}; {lists}.")


def _move(store: Store, old: Path, new: Path) -> Path:
    if os.path.lexists(new):
        raise StoreError(f"{new} is there already; remove one of the two.")
    try:
        make_folder(new.parent, store.path)
        os.rename(old, new)
    except OSError as error:
        raise StoreError(f"{old} cannot be moved to {new} ({explain(error)}).") from error
    return new
