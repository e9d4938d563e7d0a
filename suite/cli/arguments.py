"""Turns the short options (``--task``, ``--optimizer``, ``--schedule``) into LightningCLI's own.

LightningCLI's parser takes ``--config`` layers and ``--model.*``, ``--data.*``, ``--trainer.*``; a task is such a layer
and an optimizer is a setting of the model. It is checked here, so that its errors come before heavy imports.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import os
from typing import Any

from suite.execution.matrix import task_file, task_name, without_other_budgets
from suite.fields import nested, option_value, read, read_yaml, take_options

DEFAULT_STORE = os.environ.get("SUITE_STORE", "runs")
"""Folder of the records and of prepared data, unless a flag says otherwise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A training command, its short options resolved.

    Attributes:
        arguments: words for LightningCLI's parser.
        store: folder of the records.
        rerun: train again even if there is a record.
        keep_checkpoint: leave the final weights beside the record.
        checkpoint_seconds: least wall time between checkpoints; None: see `suite.training.checkpoint.Checkpoint`.
        logger: logs of the run for other programs; see `suite.training.run_logs`.
    """

    arguments: list[str]
    store: str = DEFAULT_STORE
    rerun: bool = False
    keep_checkpoint: bool = False
    checkpoint_seconds: float | None = dataclasses.field(default=None, metadata={"at_least": 0})
    logger: tuple[str, ...] = ()


def store_of(arguments: list[str]) -> str:
    """Folder of the records that a training command names, or the usual one; what else it says is not looked at."""
    named = [after for word, after in itertools.pairwise(arguments) if word == "--store"]
    named += [word.partition("=")[2] for word in arguments if word.startswith("--store=")]
    return named[-1] if named else DEFAULT_STORE


def read_request(arguments: list[str]) -> Request:
    """Resolve the short options of ``fit``, ``validate``, ``test`` and ``predict``.

    Args:
        arguments: the command line after the command's name.

    Raises:
        ValueError: unknown task, optimizer or setting; a value is missing or of the wrong type.
    """
    options, rest = take_options(
        arguments,
        families=("optimizer", "schedule"),
        names=("task", "store", "checkpoint_seconds", "diagnostics", "logger", "optimizer", "schedule"),
        flags=("rerun", "keep_checkpoint"),
    )
    layers: list[str] = []
    for file in filter(os.path.isfile, _files(rest)):
        if "config" in read_yaml(file):
            raise ValueError(f"{file} must hold settings alone, but config names another file; give that to --config.")
    if "task" in options:
        task = task_name(options["task"])
        layers += ["--config", str(task_file(task))]
        layers += without_other_budgets(task, _settings_of_data(rest))
        rest += ["--model.init_args.name", task]
    if not any(word in ("-h", "--help", "--print_shtab") for word in rest):
        if "diagnostics" in options:
            rest += ["--model.init_args.diagnostics", json.dumps(read_diagnostics(options["diagnostics"]))]
        rest += _resolved("optimizer", options, rest) + _resolved("schedule", options, rest)
    settings: dict[str, Any] = {f.name: options[f.name] for f in dataclasses.fields(Request) if f.name in options}
    settings["logger"] = read_loggers(options.get("logger", ""))
    return read(Request, {**settings, "arguments": layers + rest}, name="")


def _settings_of_data(words: list[str]) -> dict[str, str]:
    """The settings of the data on a command line, by their name after ``data.`` or ``data.init_args.``."""
    settings = take_options(words, families=("data",))[0]
    return {name.rpartition(".")[2]: text for name, text in settings.items()}


def read_diagnostics(text: str) -> dict[str, Any]:
    """Read and check ``--diagnostics``: names with commas between, or a mapping from names to settings.

    Raises:
        ValueError: unknown diagnostic or setting.
    """
    from suite.diagnostics.catalogue import parse

    if text.startswith("{"):
        spec = option_value(text, "--diagnostics")
    else:
        spec = {name.strip(): {} for name in text.split(",") if name.strip()}
    parse(spec)
    return dict(spec)


def read_loggers(text: str) -> tuple[str, ...]:
    """Read and check ``--logger``: names with commas between.

    Raises:
        ValueError: unknown logger, or its library is not installed.
    """
    kinds = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    if kinds:
        from suite.training.run_logs import check_kinds

        check_kinds(kinds)
    return kinds


def _resolved(family: str, options: dict[str, str], words: list[str]) -> list[str]:
    """An optimizer or schedule given by name, file, fields or ``--config`` layer, as one ``--model.init_args`` option.

    Empty where there is none.
    """
    settings = {
        name.removeprefix(f"{family}."): option_value(text, f"--{name}")
        for name, text in options.items()
        if name.startswith(f"{family}.")
    }
    name = options.get(family)
    if name is None:
        spec = _of_layers(family, words)
        if not spec and settings:
            typed = [word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")]
            close = difflib.get_close_matches(family, typed, n=1)
            hint = f" (is --{close[0]} a slip?)" if close else ""
            raise ValueError(f"--{family}.{next(iter(settings))} needs --{family} NAME as well{hint}.")
    else:
        spec = _as_named(read_yaml(name)) if name.endswith((".yaml", ".yml")) else {"name": name}
    if not spec:
        return []
    from suite.optim.parsing import resolve
    from suite.optim.schedule import resolve_schedule

    spec = nested(settings, into=spec)
    if family == "schedule":
        return ["--model.init_args.schedule", json.dumps(resolve_schedule(spec))]
    only_printed = "lr" not in spec and any(word.partition("=")[0] == "--print_config" for word in words)
    resolved = resolve({**spec, "lr": 1.0} if only_printed else spec)
    if only_printed and "lr" in resolved["init_args"]:
        resolved["init_args"]["lr"] = None  # to be filled in
    return ["--model.init_args.optimizer", json.dumps(resolved)]


def _files(words: list[str]) -> list[str]:
    """The files that ``--config`` names."""
    files = [after for word, after in itertools.pairwise(words) if word in ("--config", "-c")]
    return files + [word.partition("=")[2] for word in words if word.startswith("--config=")]


def _of_layers(family: str, words: list[str]) -> dict[str, Any]:
    """The optimizer or schedule of the last ``--config`` layer that has one."""
    spec: dict[str, Any] = {}
    for file in _files(words):
        model = read_yaml(file).get("model")
        arguments = model.get("init_args") if isinstance(model, dict) else None
        if isinstance(arguments, dict) and isinstance(arguments.get(family), dict):
            spec = arguments[family]
    return _as_named(spec)


def _as_named(spec: dict[str, Any]) -> dict[str, Any]:
    if "class_path" not in spec:
        return spec
    from suite.optim.parsing import split_spec

    name, arguments = split_spec(spec, "class")
    return {"name": name, **arguments}
