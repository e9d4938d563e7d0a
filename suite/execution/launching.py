"""From the options of ``sweep`` to the launcher that executes its runs."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from suite.execution.launchers.launcher import Launcher, Request
from suite.execution.launchers.local import LocalLauncher, LocalSettings
from suite.fields import nearest
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
    left, given, queue = [], {}, list(arguments)
    while queue:
        option, equals, value = queue.pop(0).partition("=")
        if not option.startswith("--launcher."):
            left.append(option + equals + value)
            continue
        if not equals:
            if not queue:
                raise ValueError(f"{option} needs a value; write {option} VALUE.")
            value = queue.pop(0)
        try:
            given[option.removeprefix("--launcher.")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{option} must be a value in YAML, got {value!r}.") from error
    file = given.pop("config", None)
    return left, {**(_read(Path(str(file))) if file is not None else {}), **given}


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


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"--launcher.config must be a file that can be read, got {path} ({error.strerror})."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{path} must be a mapping from a launcher's settings to values, got {content!r:.60}.")
    return content


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
