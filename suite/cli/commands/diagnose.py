"""``diagnose``: measures a task's network at its start or at a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from suite.cli.arguments import DEFAULT_STORE, read_diagnostics, read_request
from suite.cli.commands.lists import print_lines
from suite.cli.parser import Parser
from suite.fields import one_line

if TYPE_CHECKING:
    import pyarrow as pa

EPILOG = """\
The task and its settings are given as in fit: --task fineweb/gpt --data.batch_size 16 --optimizer sgd --optimizer.lr
0.3; --run takes those of a run in the store instead. What only a store names is not imported: classes of your own are
named with --task, --config or --optimizer beside --run, their settings are the record's. Along a run the same
diagnostics are measured by fit --diagnostics A,B, or by model.diagnostics in YAML.
"""


def main(command: str, arguments: list[str]) -> int:
    """Print, or write, one table."""
    parser = Parser(
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

        print_lines(list_diagnostics())
        return 0
    _print_table(_table(options, rest), options.csv)
    return 0


def _table(options: argparse.Namespace, rest: list[str]) -> pa.Table:
    import pyarrow as pa

    from suite.execution.diagnose import diagnose
    from suite.execution.recorded import config_of, weights_of
    from suite.records import Store

    checkpoint, store = options.checkpoint, Store(options.store)
    if options.run:
        for word in rest:
            if word.startswith("-") and not word.startswith(("--task", "--config", "-c", "--optimizer")):
                raise ValueError(f"{word} changes a task, got --run as well; give one of the two.")
        config = config_of(options.run, store, read_request(rest).arguments)
        if checkpoint is None and not options.start:
            checkpoint = weights_of(options.run, store)
    else:
        if not any(word.startswith(("--task", "--config", "-c")) for word in rest):
            raise ValueError("diagnose needs --task NAME or --run RUN_ID; --list tells what it can measure.")
        from suite.execution.resolver import Resolver

        config = Resolver().resolve(read_request(rest).arguments)
    measured, left_out = diagnose(config, checkpoint, read_diagnostics(options.diagnostics), options.device)
    for sentence in left_out:
        print(one_line(f"left out: {sentence}"))
    return pa.concat_tables([rows.table() for rows in measured])


def _print_table(table: pa.Table, file: Path | None) -> None:
    if file is not None:
        from suite.analysis.csv_text import csv_text

        file.write_text(csv_text(table.to_pandas()), encoding="utf-8")
        print(f"Table: {file}")
        return
    head = table.column_names
    rows = [
        [*map(one_line, row[:-1]), f"{row[-1]:.6g}"]
        for row in zip(*(table[name].to_pylist() for name in head), strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
