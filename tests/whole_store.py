"""A store of a small sweep whose runs all have results, without training them; and every place of its JSON files."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from suite.execution.sweeping import Sweep
from suite.records import Store, final_losses
from suite.sweep import read_spec

ASKED: dict[str, Any] = {
    "question": "Which is better?", "source": "a test", "task": "toy/quadratic", "batch_size": [1, 2], "seeds": [1, 2],
    "overrides": {"data.budget_steps": 4},
    "optimizers": {"sgd": {"lr": [0.001, 0.002]}, "adam": {"lr": [0.001, 0.002], "beta": 0.9}},
}  # fmt: skip


def write_sweep(folder: Path, **asked: Any) -> tuple[Path, Store]:
    """Write the sweep's YAML, ``asked`` in place of its own values, its plan, and a record for each of its runs.

    Returns:
        The YAML, and the store beside it.
    """
    file, store = folder / "s.yaml", Store(folder / "runs")
    file.write_text(yaml.safe_dump({**ASKED, **asked}))
    sweep = Sweep(read_spec(file), store, command="python -m suite sweep s.yaml", pack=1, compiled="off")
    for number, run in enumerate(sweep.plan.runs):
        losses = [3.0 - 0.1 * step - 0.01 * number for step in range(run.steps)]
        curves = pa.table({"step": range(run.steps), "train_loss": losses, "lr": losses, "grad_norm": losses})
        config = sweep.runs.config(run)
        record = {
            "run_id": run.run_id, "status": "finished", "task": "toy/quadratic", "optimizer": run.settings,
            "batch_size": run.batch_size, "seed": run.seed, "steps": run.steps, "steps_done": run.steps,
            "diverged_at": None, "final": final_losses(losses, 2.5), "metrics": {"val/loss": 2.5}, "config": config,
            "identity": {}, "data": {"name": "toy", "fingerprint": "0123456789abcdef", "samples": 9}, "facts": {},
            "parameters": 9, "code": {"version": "0.1.0", "commit": None, "dirty": False},
            "packages": {"torch": "2.0"}, "device": {"kind": "cpu", "name": "a processor", "count": 1},
            "host": "here", "started": "2026-01-02T03:04:05+00:00", "ended": "2026-01-02T03:05:05+00:00",
            "seconds": {"train": 1.0, "eval": 0.1, "log": 0.1, "total": 1.2}, "error": None,
        }  # fmt: skip
        store.write_record(record, curves)
    store.write_plan(sweep.plan.as_record(command=sweep.command, title="A quadratic"))
    return file, store


def renamed(document: Any, old: str, new: str) -> Any:
    """A copy of a document in which each text and key ``old`` is ``new``, as no sweep's YAML may name it."""
    if isinstance(document, dict):
        return {renamed(key, old, new): renamed(inner, old, new) for key, inner in document.items()}
    if isinstance(document, list):
        return [renamed(inner, old, new) for inner in document]
    return new if document == old else document


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a value, of lists the first and the last item's."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    last = len(value) - 1 if isinstance(value, list) else 0
    for key, inner in items:
        if isinstance(value, dict) or key in (0, last):
            yield (*path, key)
            yield from places(inner, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at one place."""
    if not path:
        return value
    copied = copy.deepcopy(document)
    place = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copied


def rewrite(path: Path, document: Any) -> None:
    """Replace a JSON file, with its time of change as it was."""
    before = path.stat()
    path.write_text(json.dumps(document))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
