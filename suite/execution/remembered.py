"""Which run a command line was, so that asking for a trained run again needs no import of Lightning.

After a run has a result, its command line is remembered in the store with the state of everything that went into it:
the modules that were loaded, the files that were named, the data. While none of them has changed, the command line
means the same run. Whatever has changed, if only in its time of change, has the command find out anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from suite.fields import is_the_users
from suite.records import Store
from suite.records.files import make_folder, read_json, write_text_atomically

MOST_FILES = 20_000
"""Largest number of files of the data that are looked at; runs on more are not remembered."""

_OWN = ("suite", "tasks", "models")
_UNUSUAL = ("-h", "--help", "--print_config", "--print_shtab", "--ckpt_path", "--rerun", "--keep_checkpoint")


def remembered(store: Store, arguments: list[str]) -> dict[str, Any] | None:
    """The record of the run that a command line was; None if that is not known, or anything has changed since.

    Args:
        store: the store.
        arguments: the command line as it was typed.
    """
    if _unusual(arguments):
        return None
    try:
        kept = read_json(_file(store, arguments))
        files = [(path, size, changed) for path, size, changed in kept["files"]]
        if not isinstance(kept["run_id"], str) or any(_state(Path(path)) != [size, t] for path, size, t in files):
            return None
        if any(_contents([Path(root)]) != listed for root, listed in kept["folders"].items()):
            return None
        return store.record(kept["run_id"]) if store.settled(kept["run_id"]) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def remember(
    store: Store, arguments: list[str], run_id: str, *, settings: Iterable[Path], data: Iterable[Path]
) -> None:
    """Remember which run a command line was; nothing is written where that cannot be told later.

    Args:
        store: the store, in which the run has a result.
        arguments: the command line as it was typed.
        run_id: the run's id.
        settings: the files that it means without naming them.
        data: files and folders of the data.
    """
    if _unusual(arguments) or not store.settled(run_id):
        return
    files = {*_modules(), *_named(arguments), *settings}
    folders: dict[str, str] = {}
    for path in map(Path.absolute, data):
        if not path.exists():
            continue
        if (listed := _contents([path])) is None:
            return
        folders[str(path)] = listed
    states = [[str(path.absolute()), *state] for path in sorted(files) if (state := _state(path)) is not None]
    path = _file(store, arguments)
    try:
        make_folder(path.parent, store.path)
        write_text_atomically(path, json.dumps({"run_id": run_id, "files": states, "folders": folders}))
    except OSError:
        return  # the next call finds out anew


def _unusual(arguments: list[str]) -> bool:
    """Whether a command line does more than train, or is one of several processes of a run."""
    several = any(name in os.environ for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return several or any(word.partition("=")[0] in _UNUSUAL for word in arguments)


def _file(store: Store, arguments: list[str]) -> Path:
    surroundings = [os.getcwd(), sys.version, {k: v for k, v in sorted(os.environ.items()) if k.startswith("SUITE_")}]
    digest = hashlib.sha256(json.dumps([arguments, surroundings]).encode()).hexdigest()[:32]
    return store.path / "requests" / f"{digest}.json"


def _state(path: Path) -> list[int] | None:
    """Size and time of change; None where there is nothing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _contents(paths: list[Path]) -> str | None:
    """A digest of the files below some paths, by name, size and time of change; None where there are too many."""
    states, waiting = [], list(paths)
    while waiting:
        path = waiting.pop()
        if path.is_dir():
            waiting += sorted(path.iterdir())
        else:
            states.append([str(path), _state(path)])
        if len(states) + len(waiting) > MOST_FILES:
            return None
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def _modules() -> set[Path]:
    """Files of the loaded modules of the suite, its tasks and models, and the user."""
    files = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and (name.partition(".")[0] in _OWN or is_the_users(file)):
            files.add(Path(file))
    return files


def _named(arguments: list[str]) -> set[Path]:
    """Files that a command line names."""
    words = [part for word in arguments for part in (word, word.partition("=")[2])]
    return {Path(word) for word in words if word and len(word) < 1000 and "\n" not in word and os.path.isfile(word)}
