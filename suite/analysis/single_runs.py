"""Single runs for a terminal: a list of them, and one with its settings and its curve."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from suite.analysis.columns import Column, cells
from suite.analysis.curves import ema, store_losses
from suite.analysis.terminal import lines, printable, text_table
from suite.analysis.words import counted, format_setting, format_value, optimizer_title, plain_number
from suite.records import FINAL_LOSSES, Store

SORTED_BY = ("loss", "started", "seconds", "batch_size", "seed", "run_id")
"""What a list of runs can be sorted by; the final loss is the chosen one."""

HEIGHT, WIDTH = 12, 72
"""Lines and columns of a curve."""


def format_runs(
    records: Sequence[Mapping[str, Any]],
    *,
    final_loss: str = "ema",
    sort: str = "loss",
    most: int | None = 50,
) -> str:
    """A line per run.

    Args:
        records: which are listed.
        final_loss: which final loss is shown.
        sort: one of `SORTED_BY`.
        most: lines at most; None: all.
    """
    records = sorted(records, key=lambda record: _key(record, sort, final_loss))
    shown = records if most is None else records[:most]
    columns = [
        Column("run", lambda r: r["run_id"], words=True),
        Column("task", lambda r: r["task"], words=True),
        Column("optimizer", lambda r: optimizer_title(_optimizer(r)), words=True),
        Column("batch", lambda r: str(r["batch_size"])),
        Column("seed", lambda r: str(r["seed"])),
        Column("lr", lambda r: format_value(r["optimizer"].get("lr", "-"))),
        Column(f"final loss ({final_loss})", lambda r: _outcome(r, final_loss)),
        Column("why", lambda r: _why(r), words=True),
    ]
    counts = counted(len(records), "run") + (f", the first {len(shown)} by {sort}" if len(shown) < len(records) else "")
    body = [text_table(*cells(columns, shown))] if shown else []
    return printable([*body, lines(f"{counts}. final loss ({final_loss}): {FINAL_LOSSES[final_loss]}.")])


def format_run(store: Store, run_id: str) -> str:
    """Everything about one run: what it was, how it ended, its curve, and how to repeat it.

    Raises:
        ValueError: it has no record that can be read.
    """
    record = store.record(run_id)
    if record is None:
        raise ValueError(f"Run {run_id} has no record that can be read.")
    setting = tuple((k, v) for k, v in record["optimizer"].items() if k != "name" and isinstance(v, int | float))
    code, device, seconds = (record.get(key) or {} for key in ("code", "device", "seconds"))
    facts = {
        "task": record["task"],
        "optimizer": f"{optimizer_title(_optimizer(record))}: {format_setting(setting)}",
        "batch size, seed": f"{record['batch_size']}, {record['seed']}",
        "steps": f"{record.get('steps_done', record['steps'])} of {record['steps']}",
        "status": f"{record['status']}{f', {_why(record)}' if _why(record) else ''}",
        **{f"final loss {name}": f"{value:.6g}" for name, value in record["final"].items()},
        **{name: f"{value:.6g}" for name, value in record["metrics"].items()},
        "seconds": ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()),
        "code": f"version {code.get('version')}, commit {code.get('commit')}{', changed' if code.get('dirty') else ''}",
        "device": f"{device.get('count', 1)} x {device.get('name') or device.get('kind')} on {record.get('host')}",
        "from, to": f"{record.get('started')}, {record.get('ended')}",
        "folder": str(store.run_folder(run_id)),
    }
    width = max(map(len, facts))
    losses = store_losses(store)(run_id)
    curve = [] if losses is None or len(losses) < 2 else [_curve(ema(losses))]
    repeat = f"python -m suite rerun {run_id} --store {shlex.quote(str(store.path))}"
    table = "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())
    return printable([f"Run {run_id}", table, *curve, f"To repeat it (its new result replaces this one): {repeat}"])


def _curve(values: np.ndarray) -> str:
    """The smoothed train loss against the steps, drawn with letters."""
    values = values[np.isfinite(values)]
    parts = np.array_split(values, min(WIDTH, len(values)))
    means = np.array([part.mean() for part in parts])
    low, high = float(means.min()), float(means.max())
    rows = np.clip(((high - means) / ((high - low) or 1.0) * (HEIGHT - 1)).round().astype(int), 0, HEIGHT - 1)
    canvas = [[" "] * len(means) for _ in range(HEIGHT)]
    for column, row in enumerate(rows):
        canvas[row][column] = "*"
    labels = {0: f"{high:.4g}", HEIGHT - 1: f"{low:.4g}"}
    width = max(map(len, labels.values()))
    drawn = [f"{labels.get(number, ''):>{width}} |{''.join(line).rstrip()}" for number, line in enumerate(canvas)]
    axis = f"{'':>{width}} +{'-' * len(means)}"
    steps = f"{'':>{width}}  1{f'{len(values)} steps':>{max(1, len(means) - 1)}}"
    return "\n".join(["Train loss, moving average:", "", *drawn, axis, steps])


def _key(record: Mapping[str, Any], sort: str, final_loss: str) -> tuple[bool, Any]:
    if sort == "loss":
        value: Any = record["final"].get(final_loss, math.inf if record["status"] == "diverged" else None)
    elif sort == "seconds":
        value = (record.get("seconds") or {}).get("total")
    else:
        value = record.get(sort)
    return value is None, 0 if value is None else value


def _optimizer(record: Mapping[str, Any]) -> str:
    return str(record["optimizer"]["name"])


def _outcome(record: Mapping[str, Any], final_loss: str) -> str:
    if record["status"] != "finished":
        return str(record["status"])
    return plain_number(record["final"].get(final_loss, math.nan))


def _why(record: Mapping[str, Any]) -> str:
    """Why a run has not finished; empty for one that has."""
    if record["status"] == "diverged" and record.get("diverged_at") is not None:
        return f"at step {record['diverged_at']}"
    if record["status"] in ("failed", "interrupted"):
        return str(record.get("error") or f"after {record.get('steps_done', 'some')} steps").split("\n")[0][:80]
    return ""


def chosen_records(
    records: Sequence[Mapping[str, Any]],
    *,
    task: str | None = None,
    optimizer: str | None = None,
    batch_sizes: Sequence[int] = (),
    seeds: Sequence[int] = (),
    status: str | None = None,
    run_ids: frozenset[str] | None = None,
) -> list[Mapping[str, Any]]:
    """The records that have these values; those that are not given do not matter, nor does the case of names.

    Raises:
        ValueError: no record is of this task, or of this optimizer.
    """
    tasks = _named("task", task, [{str(record["task"])} for record in records])
    optimizers = _named("optimizer", optimizer, [{_optimizer(r), optimizer_title(_optimizer(r))} for r in records])
    return [
        record
        for record, is_of_task, is_of_optimizer in zip(records, tasks, optimizers, strict=True)
        if is_of_task
        and is_of_optimizer
        and (not batch_sizes or record["batch_size"] in batch_sizes)
        and (not seeds or record["seed"] in seeds)
        and (status is None or record["status"] == status)
        and (run_ids is None or record["run_id"] in run_ids)
    ]


def _named(what: str, name: str | None, names: Sequence[set[str]]) -> list[bool]:
    """Which records have a name, in any case."""
    if name is None:
        return [True] * len(names)
    matches = [name.casefold() in {spelling.casefold() for spelling in of_record} for of_record in names]
    if not any(matches):
        there = ", ".join(sorted({min(of_record) for of_record in names})) or "none"
        raise ValueError(f"No run here is of the {what} {name!r}; there are: {there}.")
    return matches
