"""Applies diagnostics to a network outside training, at saved or at initial weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.execution.foreign import foreign_names
from suite.records import Store

if TYPE_CHECKING:
    from suite.diagnostics.rows import Rows

RESOLVED = ("seed_everything", "trainer", "model", "data")
"""The parts of a run's configuration from which task, data and trainer are built."""


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
    return {**base, "seed_everything": record["seed"], **parts}


def final_weights(run_id: str, store: Store) -> Path:
    """The file of a run's final weights.

    Raises:
        ValueError: the run kept none.
    """
    weights = store.run_folder(run_id) / "final.ckpt"
    if not weights.is_file():
        raise ValueError(
            f"Run {run_id} left no weights; train it with --keep_checkpoint, or give --checkpoint or --start."
        )
    return weights


def diagnose(
    config: Mapping[str, Any], checkpoint: Path | None, diagnostics: Mapping[str, Any], device: str
) -> tuple[list[Rows], list[str]]:
    """Apply diagnostics to a network.

    Args:
        config: the resolved configuration of the network's run.
        checkpoint: the file of the weights; None: the run's initial weights.
        diagnostics: name -> settings; if empty, those of the task, or if it has none, every one that is possible.
        device: the device to compute on.

    Returns:
        The measurements, and a sentence for each diagnostic that was left out.

    Raises:
        ValueError: a requested diagnostic is impossible.
    """
    from suite.diagnostics.at_checkpoint import Checkpointed
    from suite.diagnostics.catalogue import CATALOGUE, parse
    from suite.execution.resolver import Resolver
    from suite.training.opening import give_seed

    task, data = Resolver().build_data({key: value for key, value in config.items() if key in RESOLVED})
    give_seed(task, data, config)
    weights = Checkpointed(task, data, checkpoint, device)
    if chosen := parse(diagnostics or task.diagnostics):
        return [weights.measure(chosen)], []
    measured, left_out = [], []
    for name in CATALOGUE:
        try:
            measured.append(weights.measure(parse({name: {}})))
        except ValueError as error:
            left_out.append(str(error))
    return measured, left_out
