"""The short options (``--task``, ``--optimizer``, ``--schedule``) in terms of LightningCLI's own.

LightningCLI's parser takes ``--config`` layers and ``--model.*``, ``--data.*``, ``--trainer.*``; a task is such a layer
and an optimizer a value of the model's. Checking the optimizer here gives its errors before anything heavy is loaded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from suite.execution.matrix import task_file


@dataclasses.dataclass(frozen=True)
class Request:
    """A training command, its short options resolved.

    Attributes:
        arguments: for LightningCLI's parser.
        store: folder of the records.
        rerun: train again even if there is a record.
        keep_checkpoint: leave the final weights beside the record.
        checkpoint_seconds: least wall time between checkpoints.
    """

    arguments: list[str]
    store: str
    rerun: bool
    keep_checkpoint: bool
    checkpoint_seconds: float


def read_request(arguments: list[str], *, default_store: str) -> Request:
    """Resolve the short options of ``fit``, ``validate``, ``test`` and ``predict``.

    Args:
        arguments: the command line after the command's name.
        default_store: folder of the records where ``--store`` is not given.

    Raises:
        ValueError: unknown task, optimizer or setting; a value is missing or of the wrong type.
    """
    taken, rest = _take(
        arguments,
        values=("--task", "--store", "--checkpoint_seconds", "--diagnostics"),
        flags=("--rerun", "--keep_checkpoint"),
        families=("--optimizer", "--schedule"),
    )
    layers: list[str] = []
    if "--task" in taken:
        layers += ["--config", str(task_file(taken["--task"]))]
        rest += ["--model.init_args.name", taken["--task"]]
    if any(argument in ("-h", "--help", "--print_shtab") for argument in rest):
        return _request(layers + rest, taken, default_store)
    if "--diagnostics" in taken:
        rest += ["--model.init_args.diagnostics", json.dumps(read_diagnostics(taken["--diagnostics"]))]
    files = [rest[i + 1] for i, a in enumerate(rest[:-1]) if a in ("--config", "-c")]
    files += [a.partition("=")[2] for a in rest if a.startswith("--config=")]
    for family, check in (("optimizer", _resolve_optimizer), ("schedule", _resolve_schedule)):
        rest += _resolve_family(family, taken.get(f"--{family}", {}), files, check)
    return _request(layers + rest, taken, default_store)


def read_diagnostics(text: str) -> dict[str, Any]:
    """Read ``--diagnostics``: names with commas between, or a mapping from names to settings; checked.

    Raises:
        ValueError: unknown diagnostic or setting.
    """
    from suite.diagnostics.catalogue import parse

    if text[:1] in ("{", ""):
        spec = yaml.safe_load(text)
        spec = spec if isinstance(spec, dict) else {}
    else:
        spec = {name.strip(): {} for name in text.split(",") if name.strip()}
    parse(spec)
    return spec


def _request(arguments: list[str], taken: dict[str, Any], default_store: str) -> Request:
    try:
        seconds = float(taken.get("--checkpoint_seconds", 60))
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ValueError(f"--checkpoint_seconds must be a number from 0 up, got {taken['--checkpoint_seconds']!r}.")
    return Request(
        arguments=arguments,
        store=taken.get("--store", default_store),
        rerun="--rerun" in taken,
        keep_checkpoint="--keep_checkpoint" in taken,
        checkpoint_seconds=seconds,
    )


def _take(
    arguments: list[str], *, values: tuple[str, ...], flags: tuple[str, ...], families: tuple[str, ...]
) -> tuple[dict[str, Any], list[str]]:
    """Split off the short options; a family is ``--x NAME`` together with every ``--x.field VALUE``."""
    taken: dict[str, Any] = {}
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        option, equals, value = queue.pop(0).partition("=")
        family = next((f for f in families if option == f or option.startswith(f + ".")), None)
        if option in flags and not equals:
            taken[option] = True
        elif option in values or family:
            if not equals:
                if not queue or queue[0].startswith("--"):
                    raise ValueError(f"{option} needs a value; write {option} VALUE.")
                value = queue.pop(0)
            if family:
                taken.setdefault(family, {})[option.removeprefix(family).removeprefix(".")] = value
            else:
                taken[option] = value
        else:
            rest.append(option + equals + value)
    return taken, rest


def _resolve_family(
    family: str, given: dict[str, str], files: list[str], check: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[str]:
    """One ``--model.init_args`` argument for an optimizer or schedule given by name, file, fields, or config layer."""
    key = f"--model.init_args.{family}"
    name = given.pop("", None)
    if name is not None and name.endswith((".yaml", ".yml")):
        spec = _as_named(_load_yaml(name))
    elif name is not None:
        spec = {"name": name}
    else:
        spec = _as_named(_from_layers(family, files))
        if not given and not spec:
            return []
        if not spec:
            raise ValueError(f"--{family}.{next(iter(given))} needs --{family} NAME as well.")
    for path, value in given.items():
        _set(spec, path, yaml.safe_load(value) if value[:1] in "[{" else _scalar(value))
    return [key, json.dumps(check(spec))]


def _from_layers(family: str, files: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in files:
        model = _load_yaml(file).get("model")
        arguments = model.get("init_args") if isinstance(model, dict) else None
        if isinstance(arguments, dict) and isinstance(arguments.get(family), dict):
            found = arguments[family]
    return found


def _load_yaml(file: str) -> dict[str, Any]:
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"There is no file {file}; give the path of a YAML file.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a mapping, got {type(content).__name__}.")
    return content


def _as_named(spec: dict[str, Any]) -> dict[str, Any]:
    if "class_path" in spec:
        return {"name": spec["class_path"], **(spec.get("init_args") or {})}
    return dict(spec)


def _scalar(value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _set(spec: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        inner = spec.get(parent)
        spec[parent] = dict(inner) if isinstance(inner, dict) else {}
        spec = spec[parent]
    spec[last] = value


def _resolve_optimizer(spec: dict[str, Any]) -> dict[str, Any]:
    from suite.optim.registry import resolve

    return resolve(spec)


def _resolve_schedule(spec: dict[str, Any]) -> dict[str, Any]:
    from suite.optim.schedule import resolve_schedule

    return resolve_schedule(spec)
