"""``validate``, ``test``, ``predict``: a trained network on the validation split, by the settings of its record."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import yaml

from suite.cli.arguments import DEFAULT_STORE, read_request
from suite.cli.output import keep_to_the_point
from suite.fields import ConfigError, one_line, take_options
from suite.records import Store

USAGE = """\
usage: python -m suite {command} [RUN] [options]

A run of the store, by its id or its first letters, has its settings and weights taken from there; fit keeps the weights
with --keep_checkpoint. Options change settings, such as --data.eval_samples 100.
  python -m suite {command} 3f2a
  python -m suite {command} --ckpt_path runs/runs/3f/3f2a.../final.ckpt   the same, by its file
  python -m suite {command} --task fineweb/gpt --ckpt_path FILE           a network of no run, by settings as in fit

short options (before Lightning's own, below):
  --run RUN                    the same as RUN
  --store DIR                  folder of the records (default: ./runs or $SUITE_STORE)
  --task, --config, --optimizer
                               as in fit; beside RUN they name classes of your own, which a store's are not taken for
"""

OUT = """\
  --out FILE                   Parquet file for the predictions, a row per sample (default: predictions.parquet, with
                               the run's id before it where there is a run)
"""

_NAMING = ("task", "config", "optimizer")


@dataclasses.dataclass(frozen=True)
class _Of:
    """Which run is meant, and by which options its classes are named."""

    store: Store
    run_id: str
    naming: dict[str, str]


def main(command: str, arguments: list[str]) -> int:
    """Measure, or write predictions; returns 0."""
    if "--help" in arguments or "-h" in arguments:
        print(usage(command))
    arguments, start = _positional(arguments)
    options, rest = take_options(arguments, names=("run", "out"))
    if "out" in options and command != "predict":
        raise ConfigError(f"--out is a file for predictions, which {command} does not make; leave it out.")
    run = _run_of(start or options.get("run"), rest)
    if run is None:
        _refuse_nothing_to_measure(command, rest)
    defaults = {"weights_only": "true"}  # a checkpoint from elsewhere runs no code
    if command == "predict":
        defaults["return_predictions"] = "false"  # they are written
    rest += [f"--{name}={value}" for name, value in defaults.items() if not _has(rest, name)]
    with tempfile.TemporaryDirectory() as folder:
        words = rest if run is None else _words_of(run, rest, Path(folder) / "run.yaml")
        request = read_request(words)
        from suite.cli.lightning import SuiteCLI

        keep_to_the_point()
        out = options.get("out") or f"{'' if run is None else f'{run.run_id}.'}predictions.parquet"
        cli = SuiteCLI(command, request, predictions=Path(out) if command == "predict" else None)
    if cli.predictions is not None:
        columns = ", ".join(cli.predictions.columns)
        print(one_line(f"Predictions: {cli.predictions.path} ({cli.predictions.samples} samples; columns {columns})."))
    return 0


def usage(command: str) -> str:
    """What ``--help`` says before Lightning's own options."""
    return USAGE.format(command=command) + OUT * (command == "predict")


def _positional(arguments: list[str]) -> tuple[list[str], str]:
    """The command line without the run that comes first, and that run."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[1:], arguments[0]
    return arguments, ""


def _run_of(start: str | None, words: list[str]) -> _Of | None:
    """The run that was named, or beside whose record the checkpoint lies; None where there is neither."""
    options, _ = take_options(words, families=("optimizer",), names=("store", *_NAMING, "ckpt_path"))
    naming = {name: value for name, value in options.items() if name in _NAMING or name.startswith("optimizer.")}
    if start:
        from suite.records.dropped import find_run

        store = Store(options.get("store", DEFAULT_STORE))
        return _Of(store, find_run(store, start), naming)
    checkpoint = Path(options.get("ckpt_path", "")).absolute()
    folder = checkpoint.parent
    if naming or _has(words, "-c") or not (folder / "record.json").is_file() or len(folder.parents) < 3:
        return None
    store = Store(folder.parents[2])
    return _Of(store, folder.name, naming) if store.run_folder(folder.name) == folder else None


def _refuse_nothing_to_measure(command: str, words: list[str]) -> None:
    """Refuse a command that names neither a run nor a checkpoint that is there nor a network."""
    if any(_has(words, name) for name in ("help", "-h", "-c", "print_config", "print_shtab", "model")):
        return
    options, _ = take_options(words, families=("optimizer",), names=("store", *_NAMING, "ckpt_path"))
    path = options.get("ckpt_path")
    if path is not None and not Path(path).is_file():
        raise ConfigError(f"There is no checkpoint {path}; fit --keep_checkpoint writes one beside its record.")
    if path is None and not {"task", "config"} & options.keys():
        raise ConfigError(
            f"{command} needs a RUN of the store (`python -m suite runs` lists them), or --task and --ckpt_path."
        )


def _words_of(run: _Of, words: list[str], file: Path) -> list[str]:
    """The command line with a file of the run's own settings before what changes them, and with its weights."""
    from suite.execution.recorded import config_of, weights_of

    config: dict[str, Any] = config_of(run.run_id, run.store, _naming_words(run))
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    _, changes = take_options(words, names=_NAMING)
    if not _has(changes, "ckpt_path"):
        changes += ["--ckpt_path", str(weights_of(run.run_id, run.store))]
    return ["--config", str(file), *changes]


def _naming_words(run: _Of) -> list[str]:
    """LightningCLI's arguments that name a run's classes; empty where the user names none."""
    if not run.naming:
        return []
    naming = dict(run.naming)
    if "optimizer" in naming:
        naming.setdefault("optimizer.lr", "1")  # only the class is meant: its settings are the record's
    record = run.store.record(run.run_id)
    if record is not None and not {"task", "config"} & naming.keys():
        naming["task"] = record["task"]
    return read_request([f"--{name}={value}" for name, value in naming.items()]).arguments


def _has(words: list[str], name: str) -> bool:
    dashed = name if name.startswith("-") else f"--{name}"
    return any(word.partition("=")[0] == dashed for word in words)
