"""From the options of ``sweep`` to the launcher that executes its runs."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from suite.execution.launchers.launcher import Launcher, Request
from suite.execution.launchers.local import LocalLauncher, LocalSettings
from suite.fields import nearest, option_value, read_yaml, take_options
from suite.records import Store

LAUNCHERS = ("local", "ray", "slurm")

Settings = TypeVar("Settings")

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "list": ((list,), "a list"),
    "dict": ((dict,), "a mapping"),
}


def split_launcher_options(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take ``--launcher.FIELD VALUE`` and ``--launcher.config FILE`` out of a command line.

    Returns:
        What is left, and the settings: those of the file, overridden by those of the command line.

    Raises:
        ValueError: an option lacks its value, or the file is not a mapping in YAML.
    """
    options, left = take_options(arguments, families=("launcher",))
    given = {name.removeprefix("launcher."): option_value(text, f"--{name}") for name, text in options.items()}
    file = given.pop("config", None)
    return left, {**({} if file is None else read_yaml(str(file), what="--launcher.config")), **given}


def launcher_of(
    name: str, given: Mapping[str, Any], *, workers: int | None, request: Request, store: Store, plan_id: str
) -> tuple[Launcher, int]:
    """The launcher of that name.

    Args:
        name: one of ``LAUNCHERS``.
        given: its settings.
        workers: runs at a time, where the launcher decides that; None: its own choice.
        request: what a worker is asked for a job.
        store: where results are.
        plan_id: names the folder of the launcher's files.

    Returns:
        The launcher, and the number of jobs that it does at a time.

    Raises:
        ValueError: a setting is unknown or wrong, or the launcher's engine is not there.
    """
    command = [sys.executable, "-m", "suite", "worker"]
    folder = store.path / "sweeps" / plan_id
    if name == "ray":
        from suite.execution.launchers.ray import RayLauncher, RaySettings

        ray = RayLauncher(_settings(RaySettings, given), command=command, request=request, store=store, jobs=workers)
        return ray, ray.slots()
    if name == "slurm":
        from suite.execution.launchers.slurm import SlurmLauncher, SlurmSettings

        settings = _settings(SlurmSettings, given)
        if workers is not None:
            settings = dataclasses.replace(settings, array_parallelism=workers)
        slurm = SlurmLauncher(settings, command=command, request=request, folder=folder / "slurm")
        return slurm, settings.array_parallelism
    local, gpus = _settings(LocalSettings, given), _gpus()
    if local.workers_per_gpu < 1:
        raise ValueError(f"--launcher.workers_per_gpu must be at least 1, got {local.workers_per_gpu}.")
    count = workers or gpus * local.workers_per_gpu or os.cpu_count() or 1
    return LocalLauncher(count, command=command, request=request, logs=folder / "logs", gpus=gpus), count


def _settings(kind: type[Settings], given: Mapping[str, Any]) -> Settings:
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, value in given.items():
        if name not in fields:
            raise ValueError(f"--launcher.{name} is not a setting of this launcher{nearest(name, fields)}.")
        allowed = str(fields[name].type).split(" | ")
        kinds = [_KINDS[part.partition("[")[0]] for part in allowed if part != "None"]
        right = any(isinstance(value, types) and (bool in types or not isinstance(value, bool)) for types, _ in kinds)
        if not right and not (value is None and "None" in allowed):
            expected = " or ".join(what for _, what in kinds)
            raise ValueError(f"--launcher.{name} must be {expected}, got {value!r}.")
    return kind(**given)


def _gpus() -> int:
    if not Path("/proc/driver/nvidia").exists() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        return 0
    import torch

    return torch.cuda.device_count()
