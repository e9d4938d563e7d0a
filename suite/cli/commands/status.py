"""``status``: shows how far a sweep has come, from its store and, if it was sent to SLURM, from SLURM's queue."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.execution.launchers.slurm import states_of_runs
from suite.execution.trunks import lost_sentences, lost_trunks
from suite.fields import ConfigError, one_line
from suite.records import SETTLED, Store
from suite.sweep import SweepSpec

WATCH_SECONDS = 5.0
"""Seconds between two looks of ``--watch``, if nothing else is said."""

_CLEAR = "\x1b[2J\x1b[H"

COLUMNS = ("finished", "diverged", "running", "queued", "failed", "interrupted", "missing")


def main(command: str, arguments: list[str]) -> int:
    """Print one line per optimizer and batch size, with ``--watch`` again and again."""
    parser = sweep_parser("status", "How far a sweep is.")
    parser.add_argument(
        "--watch", type=float, nargs="?", const=WATCH_SECONDS, metavar="SECONDS", help="print it anew every so often"
    )
    options, spec, _ = parse_sweep(parser, arguments)
    assert spec is not None
    if options.watch is not None and not 0.1 <= options.watch <= 86_400:
        raise ConfigError(f"--watch must be from 0.1 to 86,400 seconds, got {options.watch:g}.")
    store = Store(options.store)
    if options.watch is not None and store.plan(spec.plan_id) is None and not store.problems:
        print(f"{spec.file} has not begun in {options.store}; looking again every {options.watch:g} s.", flush=True)
        while store.plan(spec.plan_id) is None and not store.problems:
            time.sleep(options.watch)
    while True:
        print(_CLEAR * (options.watch is not None and sys.stdout.isatty()), end="")
        left = _print_status(Store(options.store), spec)
        if options.watch is None or not left:
            return 0
        sys.stdout.flush()
        time.sleep(options.watch)


def _print_status(store: Store, spec: SweepSpec) -> int:
    """Print how far a sweep is; returns the number of runs without a result."""
    plan = plan_of(spec, store)
    queued = states_of_runs(store.path / "sweeps" / plan["plan_id"] / "slurm")
    counts: dict[tuple[str, int], Counter[str]] = {}
    lost = lost_trunks(plan["runs"], store)
    for run in plan["runs"]:
        label = f"{run['panel']}: {run['optimizer']}" if run.get("panel") else run["optimizer"]
        state = _state(run["run_id"], store, queued)
        if state == "missing" and (run.get("initial") or [""])[0] in lost:
            state = "impossible"
        counts.setdefault((one_line(label), run["batch_size"]), Counter())[state] += 1
    columns = (*COLUMNS, "impossible") if any(count["impossible"] for count in counts.values()) else COLUMNS
    width = max([14, *(len(label) + 1 for label, _ in counts)])
    print(f"{'optimizer':{width}}{'batch size':>11}" + "".join(f"{name:>13}" for name in columns))
    for (label, size), count in counts.items():
        print(f"{label:{width}}{size:>11}" + "".join(f"{count[name]:>13}" for name in columns))
    total = sum(counts.values(), Counter())
    settled = sum(total[name] for name in SETTLED)
    print(f"{settled} of {sum(total.values())} runs have a result.")
    for group in (plan.get("search") or {}).get("groups", ()):
        print(one_line(_search_sentence(group)))
    for sentence in lost_sentences(plan["runs"], store):
        print(one_line(sentence))
    if queued:
        states = ", ".join(f"{n} {state.lower()}" for state, n in sorted(Counter(queued.values()).items()))
        print(f"SLURM's queue holds {len(queued)} runs of this sweep: {states}.")
    for path, reason in [*store.problems, *store.foreign_files()]:
        print(one_line(f"set aside: {path} {reason}"))
    return sum(total.values()) - settled - total["impossible"]


def _search_sentence(group: Mapping[str, Any]) -> str:
    """How far one search was when it was last looked at."""
    label = f"{group['panel']}: {group['optimizer']}" if group.get("panel") else group["optimizer"]
    chance = "" if group["chance"] is None else f"; chance of a better untried setting {group['chance']:.0%}"
    begun = "over" if group["over"] else "going on" if chance else "begins, or waits for another batch size"
    return f"search of {label} at batch size {group['batch_size']}: {begun}{chance}."


def _state(run_id: str, store: Store, queued: dict[str, Any]) -> str:
    record = store.record(run_id)
    state = str(record["status"]) if record else "missing"
    if state in SETTLED:
        return state
    if store.is_being_trained(run_id):
        return "running"
    return "queued" if run_id in queued else state
