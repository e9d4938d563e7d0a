"""What a run in a store was, to look at its network again: its configuration and its weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.execution.foreign import foreign_names
from suite.records import Store

_PRECISION = re.compile(r"(bf16|16|32|64)(-mixed|-true)?")


def config_of(run_id: str, store: Store, named: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration of a run in a store: the values that its record holds, for classes that the user's files name.

    Args:
        run_id: the run's id.
        store: holds its record.
        named: LightningCLI's arguments that name the run's classes; by default the file of its task in ``configs``.

    Raises:
        ValueError: the store has no such run, or its record names a class that neither the suite has nor ``named``
            names: nothing that a store names is imported.
    """
    from suite.execution.matrix import task_files
    from suite.execution.resolver import Resolver

    record = store.record(run_id)
    if record is None:
        reason = next((reason for path, reason in store.problems if run_id in path), "")
        raise ValueError(
            f"The store {store.path} has no run {run_id}{f' (its record {reason})' if reason else ''}; give --store or "
            "another --run."
        )
    if not named:
        files = task_files()
        if record["task"] not in files:
            raise ValueError(
                f"The record of run {run_id} is of the task {record['task']!r}, which is none of configs/tasks, and "
                "what only a store names is not imported; name its classes with --config FILE."
            )
        named = ["--config", str(files[record["task"]]), "--model.init_args.name", record["task"]]
    base = Resolver().resolve(list(named))
    foreign = next(foreign_names(record["config"], base), None)
    if foreign is not None:
        raise ValueError(
            f"The record of run {run_id} names {foreign!r:.120}, which neither the suite nor a file of yours does, and "
            "what only a store names is not imported; name it with --task, --config or --optimizer."
        )
    parts = {part: {**base[part], "init_args": record["config"][part]["init_args"]} for part in ("model", "data")}
    precision = (record["config"].get("trainer") or {}).get("precision")
    if isinstance(precision, str) and _PRECISION.fullmatch(precision):
        base = {**base, "trainer": {**base["trainer"], "precision": precision}}
    return {**base, "seed_everything": record["seed"], **parts}


def weights_of(run_id: str, store: Store) -> Path:
    """The file of a run's final weights, or of those of its checkpoint where it has not come to its end.

    Raises:
        ValueError: the run kept none.
    """
    folder = store.run_folder(run_id)
    weights = next((path for name in ("final", "checkpoint") if (path := folder / f"{name}.ckpt").is_file()), None)
    if weights is None:
        raise ValueError(
            f"Run {run_id} left no weights: fit keeps them with --keep_checkpoint (with --rerun as well where the run "
            "has a result already)."
        )
    return weights
