"""``archive`` and ``restore``: a store, or a sweep of it, in one file that travels, and back; two stores into one."""

from __future__ import annotations

import argparse
from pathlib import Path

from suite.cli.arguments import DEFAULT_STORE
from suite.cli.parser import Parser
from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.fields import ConfigError, one_line
from suite.records import Store
from suite.records.archive import POINTS, write_archive
from suite.records.restore import is_archive, restore

MOST_NAMED = 6
"""Largest number of things that one sentence names."""


def main(command: str, arguments: list[str]) -> int:
    """Write an archive, or read one into a store."""
    return _archive(arguments) if command == "archive" else _restore(arguments)


def _archive(arguments: list[str]) -> int:
    parser = sweep_parser(
        "archive", "Write the records of a sweep, or without one of the whole store, into one file.", file="?"
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="the archive, such as results.parquet")
    parser.add_argument(
        "--points",
        type=_points,
        default=POINTS,
        metavar="N",
        help="means that are kept of each curve, or `all` for every step (default: %(default)s)",
    )
    options, spec, _ = parse_sweep(parser, arguments)
    _refuse_other_file(options.to)
    store = Store.existing(options.store)
    plan = None if spec is None else plan_of(spec, store)
    count = write_archive(store, options.to, plan, options.points)
    kilobytes = options.to.stat().st_size / 1e3
    size = f"{kilobytes / 1e3:.1f} MB" if kilobytes >= 1000 else f"{kilobytes:.0f} kB"
    runs, are = ("run", "is") if count == 1 else ("runs", "are")
    print(f"{count} {runs} of {options.store} {are} in {options.to}, {size}.")
    for path, reason in store.problems:
        print(one_line(f"left out: {path} {reason}"))
    return 1 if store.problems else 0


def _refuse_other_file(path: Path) -> None:
    """Refuse to write an archive over a file that is none, or into a folder that is not there."""
    if path.suffix != ".parquet":
        raise ConfigError(f"--to must name a file that ends in .parquet, got {path}.")
    if not path.parent.is_dir():
        raise ConfigError(f"--to must name a file in a folder that is there, got {path}; make {path.parent} first.")
    if path.exists() and not is_archive(path):
        raise ConfigError(f"{path} is there and no archive of runs; remove it, or give another --to.")


def _restore(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m suite restore",
        description="Read an archive, or another store, into a store. What the store has stays as it is.",
    )
    parser.add_argument("source", type=Path, help="an archive, or the folder of another store")
    parser.add_argument("--store", default=DEFAULT_STORE, help="folder of the records (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.source.exists():
        raise ConfigError(f"There should be an archive or a store at {options.source}, but there is nothing.")
    restored = restore(options.source, Store(options.store))
    print(
        f"{_counted(restored.written, 'run')} and {_counted(restored.plans, 'plan')} of {options.source} are now in "
        f"{options.store}; {_counted(restored.there, 'run')} already had that result there."
    )
    if restored.other:
        named = ", ".join(restored.other[:MOST_NAMED]) + (", ..." if len(restored.other) > MOST_NAMED else "")
        print(f"{len(restored.other)} runs have another result in {options.store}, which stays: {named}.")
    for name, reason in restored.problems:
        print(one_line(f"left out: {name} {reason}"))
    return 1 if restored.problems or restored.other else 0


def _counted(things: list[str], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def _points(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= 10**6:
        raise argparse.ArgumentTypeError(f"must be `all` or a whole number from 1 to 1000000, got {text!r}.")
    return int(text)
