"""The sweep that a command is about: its YAML, with settings changed on the command line, and its plan in a store."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path
from typing import Any

from suite.cli.arguments import DEFAULT_STORE
from suite.cli.parser import Parser
from suite.fields import nearest, option_value, plain, read_yaml, take_options
from suite.records import Store
from suite.sweep import SweepSpec, read_spec

EPILOG = """\
Settings of the task can be changed as in fit, such as --data.source PATH or --data.budget_tokens 1e6; they are part of
the sweep then, so status, gap and report need them too, like --search and --panel.
"""


def sweep_parser(command: str, description: str, *, file: str | None = None) -> Parser:
    """A parser for a command about one sweep; ``file`` is "?" where the YAML is optional."""
    parser = Parser(prog=f"python -m suite {command}", description=description, epilog=EPILOG)
    parser.add_argument("file", nargs=file, help="the sweep's YAML")
    parser.add_argument("--store", default=DEFAULT_STORE, help="folder of the records (default: %(default)s)")
    parser.add_argument(
        "--sources",
        type=Path,
        metavar="FILE",
        help="YAML with a dataset's data.source per line, such as `hg38: genome.fa.gz`: for sweeps of several datasets",
    )
    parser.add_argument(
        "--search",
        choices=("grid", "surface"),
        help="train every setting of the grids, or a few (docs/search.md); with --dry-run, sweep says what both cost "
        "(default: what the YAML says)",
    )
    parser.add_argument(
        "--panel",
        action="append",
        metavar="NAME",
        help="one panel of the sweep instead of all; given again, several. Its runs are those of the whole sweep",
    )
    return parser


def parse_sweep(parser: Parser, arguments: list[str]) -> tuple[argparse.Namespace, SweepSpec | None, str]:
    """Parse a command line about one sweep.

    Returns:
        The options, the sweep with its changed settings (None without a file), and the changed settings as typed.

    Raises:
        ValueError: the sweep's YAML is wrong, or an option is not known.
    """
    options, extra = parser.parse_known_args(arguments)
    settings, unknown = take_options(extra, families=("data", "model", "trainer"))
    if unknown:
        raise ValueError(f"{unknown[0]} is not an option of this command; see --help.")
    if options.file is None:
        changes = [f"--{name}" for name in ("sources", "search", "panel") if getattr(options, name) is not None]
        if extra or changes:
            raise ValueError(f"{[*changes, *extra][0]} changes a sweep; give the sweep's YAML as well.")
        return options, None, ""
    spec = read_spec(options.file)
    typed = [f" {word}" for word in extra]
    if options.sources is not None:
        spec = spec.with_sources(read_sources(options.sources))
        typed.insert(0, f" --sources {options.sources}")
    if options.search is not None:
        spec = dataclasses.replace(spec, search=None if options.search == "grid" else options.search)
        typed.insert(0, f" --search {options.search}")
    if options.panel is not None:
        spec = spec.only(options.panel)
        typed.insert(0, "".join(f" --panel {shlex.quote(label)}" for label in options.panel))
    if settings:
        spec = spec.changed({name: option_value(text, f"--{name}") for name, text in settings.items()})
    return options, spec, "".join(typed)


def read_sources(file: Path) -> dict[str, str]:
    """Read where datasets are: dataset -> path.

    Raises:
        ValueError: no such file, not such a mapping, or a dataset that no task has.
    """
    from suite.execution.matrix import describe_tasks

    sources = read_yaml(file, what="--sources")
    if not all(isinstance(path, str) for path in sources.values()):
        raise ValueError(f"--sources {file} must map datasets to paths, such as `hg38: genome.fa.gz`.")
    datasets = {task.partition("/")[0] for task in describe_tasks()}
    for dataset in sources:
        if dataset not in datasets:
            raise ValueError(f"--sources {file}: there is no dataset {dataset!r}{nearest(dataset, datasets)}.")
    return sources


def plan_of(spec: SweepSpec, store: Store) -> dict[str, Any]:
    """The plan of a sweep in a store, with what its YAML says now beside the runs.

    Raises:
        ValueError: the sweep was not started with this content in this store.
    """
    plan = store.plan(spec.plan_id)
    if plan is None and store.problems:
        (_, reason), *_ = store.problems
        raise ValueError(
            f"The plan {spec.plan_id} in the store {store.path} is damaged ({reason:.200}); run `python -m suite sweep "
            f"{spec.file} --store {store.path}`: it writes the plan anew, keeps the damaged file beside it, and trains "
            "only what is missing."
        )
    if plan is None:
        earlier = ", ".join(plan["plan_id"] for plan in store.plans() if plan["name"] == spec.name)
        history = f"it was other when started as {earlier}" if earlier else "it was not started there"
        raise ValueError(
            f"The store {store.path} has no plan {spec.plan_id} for {spec.file} as it is now ({history}); run "
            f"`python -m suite sweep {spec.file} --store {store.path}` first, it trains only what is missing."
        )
    said = {"question": spec.question, "source": spec.source, "published": plain(spec.published)}
    return {**plan, **said, "margin": spec.within, "targets": spec.targets, "titles": spec.titles, "file": spec.file}
