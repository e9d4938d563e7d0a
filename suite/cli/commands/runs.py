"""``runs``, ``show``, ``rerun``, ``drop``, ``stop``: single runs by their id, and a sweep that is to end."""

from __future__ import annotations

import argparse
import shlex
import tempfile
from pathlib import Path
from typing import Any

import yaml

from suite.cli.arguments import DEFAULT_STORE
from suite.cli.parser import Parser
from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.execution.recorded import config_of
from suite.fields import ConfigError, one_line
from suite.records import FINAL_LOSSES, Store
from suite.records.dropped import bring_back, drop, dropped, empty, find_run

STOP_SECONDS = 600.0
"""How long ``stop`` waits for the checkpoints."""


def main(command: str, arguments: list[str]) -> int:
    """Run one of the five commands."""
    return {"runs": _runs, "show": _show, "rerun": _rerun, "drop": _drop, "stop": _stop}[command](arguments)


def _runs(arguments: list[str]) -> int:
    from suite.analysis.single_runs import SORTED_BY, chosen_records, format_runs

    parser = _parser("runs", "The runs of a store, a line each.")
    parser.add_argument("--task", help="of this task alone, in any case")
    parser.add_argument("--optimizer", help="of this optimizer alone, in any case")
    parser.add_argument("--batch-size", type=int, action="append", default=[], help="of this one; can be repeated")
    parser.add_argument("--seed", type=int, action="append", default=[], help="of this seed; can be repeated")
    parser.add_argument("--status", choices=("finished", "diverged", "failed", "interrupted"), help="with this status")
    parser.add_argument("--sweep", metavar="FILE", help="of this sweep alone: its YAML")
    parser.add_argument("--final-loss", choices=FINAL_LOSSES, default="ema", help="(default: %(default)s)")
    parser.add_argument("--sort", choices=SORTED_BY, default="loss", help="order (default: %(default)s)")
    parser.add_argument("--most", type=int, default=50, help="lines at most; 0: all (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.most < 0:
        raise ConfigError(f"--most must be at least 0, got {options.most}.")
    store, run_ids = Store.existing(options.store), None
    if options.sweep is not None:
        _, spec, _ = parse_sweep(sweep_parser("runs", ""), [options.sweep, "--store", options.store])
        assert spec is not None
        run_ids = frozenset(run["run_id"] for run in plan_of(spec, store)["runs"])
    records = chosen_records(
        list(store.records()), task=options.task, optimizer=options.optimizer, batch_sizes=options.batch_size,
        seeds=options.seed, status=options.status, run_ids=run_ids,
    )  # fmt: skip
    most = options.most or None
    print(format_runs(records, final_loss=options.final_loss, sort=options.sort, most=most), end="")
    for path, reason in store.problems:
        print(one_line(f"cannot be read: {path} {reason}"))
    return 0


def _show(arguments: list[str]) -> int:
    parser = _parser("show", "One run: what it was, how it ended, its curve, and how to repeat it.")
    parser.add_argument("run", help="the run's id, or its first letters")
    parser.add_argument("--config", action="store_true", help="print its configuration alone, for fit --config")
    options = parser.parse_args(arguments)
    store = Store.existing(options.store)
    run_id = find_run(store, options.run)
    if options.config:
        print(yaml.safe_dump(_config(store, run_id), sort_keys=False), end="")
        return 0
    from suite.analysis.single_runs import format_run

    print(format_run(store, run_id), end="")
    return 0


def _rerun(arguments: list[str]) -> int:
    parser = _parser("rerun", "Train a run again as its record says; a new result replaces the old one.")
    parser.add_argument("run", help="the run's id, or its first letters")
    options = parser.parse_args(arguments)
    store = Store.existing(options.store)
    run_id = find_run(store, options.run)
    _config(store, run_id)
    try:
        config = config_of(run_id, store)
    except ValueError as error:
        where = f"--store {shlex.quote(options.store)}"
        raise ConfigError(
            f"{error} If you know them, `python -m suite show {run_id} --config {where} > run.yaml` and `python -m "
            f"suite fit --config run.yaml --rerun {where}` train it."
        ) from error
    from suite.cli.commands import train

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return train.main("fit", ["--config", str(file), "--store", options.store, "--rerun"])


def _drop(arguments: list[str]) -> int:
    parser = _parser("drop", "Move runs into the store's bin, bring them back, or empty it.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="ids, or their first letters")
    parser.add_argument("--back", action="store_true", help="bring these runs back from the bin")
    parser.add_argument("--empty", action="store_true", help="delete what is in the bin")
    options = parser.parse_args(arguments)
    if options.empty and (options.runs or options.back):
        raise ConfigError("--empty empties the whole bin; give it alone.")
    store = Store.existing(options.store)
    if options.empty:
        count = empty(store)
        print(f"Deleted {count} run{'' if count == 1 else 's'}.")
        return 0
    if options.back:
        for start in options.runs:
            print(f"{bring_back(store, start)} is back.")
    else:
        for run_id in dict.fromkeys(find_run(store, start) for start in options.runs):
            print(f"{run_id} is in {drop(store, run_id).parent}; a sweep that needs it trains it again.")
    print(f"In the bin: {', '.join(dropped(store)) or 'nothing'}.")
    return 0


def _stop(arguments: list[str]) -> int:
    from suite.execution.stop_request import ask_to_stop, wait_until_stopped

    parser = sweep_parser("stop", "Have a sweep that runs elsewhere save its checkpoints and end.")
    options, spec, _ = parse_sweep(parser, arguments)
    assert spec is not None
    store = Store(options.store)
    run_ids = [run["run_id"] for run in plan_of(spec, store)["runs"]]
    ask_to_stop(store, spec.plan_id)
    living = wait_until_stopped(store, run_ids, STOP_SECONDS)
    if living:
        print(
            f"{living} runs are still being trained after {STOP_SECONDS:.0f} s; those of a cluster end with their jobs."
        )
        return 1
    left = sum(not store.settled(run_id) for run_id in run_ids)
    goes_on = (
        f"{left} have no result yet, and the same sweep command goes on with them" if left else "all have a result"
    )
    print(f"No run of this sweep is being trained; {goes_on}.")
    return 0


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = Parser(prog=f"python -m suite {command}", description=description)
    parser.add_argument("--store", default=DEFAULT_STORE, help="folder of the records (default: %(default)s)")
    return parser


def _config(store: Store, run_id: str) -> dict[str, Any]:
    record = store.record(run_id)
    if record is None:
        raise ConfigError(f"Run {run_id} has no record that can be read, so its configuration is not known.")
    return dict(record["config"])
