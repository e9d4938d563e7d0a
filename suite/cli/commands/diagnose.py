"""``diagnose``: what the diagnostics say of a task's network, at its start or at a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.arguments import read_diagnostics, read_request
from suite.cli.places import DEFAULT_STORE

if TYPE_CHECKING:
    import pyarrow as pa

    from suite.training import Data, Task

RESOLVED = ("seed_everything", "trainer", "model", "data")
"""Parts of a run's configuration that the task and its data are built from."""

EPILOG = """\
The task and its settings are given as in fit: --task fineweb/gpt --data.batch_size 16 --optimizer sgd --optimizer.lr
0.3; --run takes those of a run in the store instead. Along a run the same diagnostics are measured by fit --diagnostics
A,B, or by model.diagnostics in YAML.
"""


def main(command: str, arguments: list[str]) -> int:
    """Print, or write, one table."""
    parser = argparse.ArgumentParser(
        prog="python -m suite diagnose", description="Measure a network that is not being trained.", epilog=EPILOG
    )
    parser.add_argument("--list", action="store_true", help="the diagnostics, one line each")
    parser.add_argument("--run", metavar="RUN_ID", help="a run of the store, trained with --keep_checkpoint")
    parser.add_argument("--store", default=DEFAULT_STORE, help="folder of the records (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, help="file of the weights (default: the run's, else the start)")
    parser.add_argument("--start", action="store_true", help="with --run: the weights that it started from")
    parser.add_argument("--diagnostics", default="", help="names with commas between, or a mapping (default: all)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="file for the table, instead of printing it")
    options, rest = parser.parse_known_args(arguments)
    if options.list:
        from suite.diagnostics.catalogue import list_diagnostics

        lines = list_diagnostics()
        for name, line in lines.items():
            print(f"{name:{max(map(len, lines))}}  {line}")
        return 0
    config, checkpoint = _of_run(options, rest) if options.run else _of_task(rest)
    table = _measured(config, options.checkpoint or checkpoint, options.diagnostics, options.device)
    if options.csv is not None:
        from pyarrow import csv

        csv.write_csv(table, options.csv)
        print(f"Table: {options.csv}")
    else:
        _print(table)
    return 0


def _of_run(options: argparse.Namespace, rest: list[str]) -> tuple[dict[str, Any], Path | None]:
    from suite.records import Store

    if rest:
        raise ValueError(f"{rest[0]} changes a task, got --run as well; give one of the two.")
    store = Store(options.store)
    record = store.record(options.run)
    if record is None:
        raise ValueError(f"The store {options.store} has no run {options.run}; give --store or another --run.")
    if options.start or options.checkpoint is not None:
        return record["config"], None
    kept = store.run_folder(options.run) / "final.ckpt"
    if not kept.is_file():
        raise ValueError(
            f"Run {options.run} left no weights; train it with --keep_checkpoint, or give --checkpoint or --start."
        )
    return record["config"], kept


def _of_task(rest: list[str]) -> tuple[dict[str, Any], Path | None]:
    if not any(word.startswith(("--task", "--config", "-c")) for word in rest):
        raise ValueError("diagnose needs --task NAME or --run RUN_ID; --list tells what it can measure.")
    from suite.execution.resolver import Resolver

    return Resolver().resolve(read_request(rest, default_store=DEFAULT_STORE).arguments), None


def _measured(config: dict[str, Any], checkpoint: Path | None, wanted: str, device: str) -> pa.Table:
    from suite.diagnostics.at_checkpoint import Checkpointed
    from suite.diagnostics.catalogue import CATALOGUE, parse
    from suite.execution.resolver import Resolver

    task, data = _built(Resolver(), config)
    chosen = parse(read_diagnostics(wanted) or task.diagnostics)
    at = Checkpointed(task, data, checkpoint, device)
    if chosen:
        return at.measure(chosen).table()
    import pyarrow as pa

    tables = []
    for name in CATALOGUE:
        try:
            tables.append(at.measure(parse({name: {}})).table())
        except ValueError as error:
            print(f"left out: {error}")
    return pa.concat_tables(tables)


def _built(resolver: Any, config: dict[str, Any]) -> tuple[Task, Data]:
    from suite.training.opening import give_seed

    # What `fit` alone knows (how a checkpoint is read) is not for building.
    task, data = resolver.build_data({key: value for key, value in config.items() if key in RESOLVED})
    give_seed(task, data, config)
    return task, data


def _print(table: pa.Table) -> None:
    head = table.column_names
    rows = [
        [*map(str, row[:-1]), f"{row[-1]:.6g}"] for row in zip(*(table[name].to_pylist() for name in head), strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
