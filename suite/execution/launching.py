"""Makes the launcher of a sweep from the options of the command line."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import Any

from suite.execution.launchers.forks import ForkServer
from suite.execution.launchers.launcher import Launcher
from suite.execution.launchers.local import LocalLauncher, LocalSettings
from suite.execution.launchers.visible_devices import visible_devices
from suite.fields import option_value, read, read_yaml, take_options
from suite.records import Store

LAUNCHERS = ("local", "ray", "slurm")

MOST_WORKERS = 10_000

WORKER_COMMAND = [sys.executable, "-m", "suite", "worker"]
"""The command of a worker, which reads a request per line and answers with a line."""


def split_launcher_options(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take ``--launcher.FIELD VALUE`` and ``--launcher.config FILE`` out of a command line.

    Returns:
        The remaining arguments, and the settings: those of the file, overridden by those of the command line.

    Raises:
        ValueError: an option lacks its value, or the file is not a mapping in YAML.
    """
    options, left = take_options(arguments, families=("launcher",))
    settings = {name.removeprefix("launcher."): option_value(text, f"--{name}") for name, text in options.items()}
    file = settings.pop("config", None)
    return left, {**({} if file is None else read_yaml(str(file), what="--launcher.config")), **settings}


def launcher_of(
    name: str,
    values: Mapping[str, Any],
    *,
    workers: int | None,
    store: Store,
    plan_id: str,
    forks: ForkServer | None = None,
) -> Launcher:
    """Make a launcher by its name.

    Args:
        name: one of ``LAUNCHERS``.
        values: the launcher's settings, from the command line or a file.
        workers: number of jobs at a time; None: the launcher's default.
        store: the store for the results.
        plan_id: id of the plan, in whose folder the launcher keeps its files.
        forks: forks the workers of this machine.

    Raises:
        ValueError: a setting is unknown or wrong, or the launcher's engine is not installed or not reachable.
    """
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise ValueError(f"--workers must be from 1 to {MOST_WORKERS:,}, got {workers}.")
    folder = store.path / "sweeps" / plan_id
    if name == "ray":
        from suite.execution.launchers.ray import RayLauncher, RaySettings

        return RayLauncher(
            read(RaySettings, values, name="--launcher"), command=WORKER_COMMAND, store=store, jobs=workers
        )
    if name == "slurm":
        from suite.execution.launchers.slurm import SlurmLauncher, SlurmSettings

        settings = read(SlurmSettings, values, name="--launcher")
        if workers is not None:
            settings = dataclasses.replace(settings, array_parallelism=workers)
        return SlurmLauncher(settings, command=WORKER_COMMAND, folder=folder / "slurm")
    local, gpus = read(LocalSettings, values, name="--launcher"), visible_devices()
    slots = workers or len(gpus) * local.workers_per_gpu or os.cpu_count() or 1
    return LocalLauncher(slots, command=WORKER_COMMAND, logs=folder / "logs", gpus=gpus, forks=forks)
