"""``papers``: every figure and table of the papers, the sweep that answers it, its counts, and what is ours in it."""

from __future__ import annotations

import csv
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from suite.cli.parser import Parser

if TYPE_CHECKING:
    from suite.sweep import SweepSpec
    from suite.sweep.papers import Item, Paper

WIDTH = 100
COLUMNS = ("paper", "item", "shows", "sweep", "runs", "papers_runs", "seeds", "search_runs", "laptop", "answer", "ours")


def main(command: str, arguments: list[str]) -> int:
    """Print the list, or one paper's part of it."""
    parser = Parser(
        prog="python -m suite papers",
        description="Every figure and table of the papers: its sweep, the runs of its grids beside the paper's, what "
        "is ours in it, and where its laptop answer stands.",
    )
    parser.add_argument("paper", nargs="?", help="such as 'paper 2' or talks (default: all)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="file for the list as a table as well")
    options = parser.parse_args(arguments)
    from suite.fields import nearest, require
    from suite.sweep.papers import read_papers

    root = _root()
    papers = read_papers(root / "configs" / "papers.yaml")
    names = [paper.name for paper in papers]
    if options.paper is not None:
        asked = options.paper if options.paper in names else f"paper {options.paper}"
        require(asked in names, "papers", f"one of {', '.join(names)}{nearest(options.paper, names)}", options.paper)
        papers = [paper for paper in papers if paper.name == asked]
    rows = []
    for paper in papers:
        print(f"{paper.name}: {paper.title}\n")
        for item in paper.items:
            lines, of_item = _described(root, paper, item)
            print("\n".join(lines) + "\n")
            rows += of_item
    if options.csv is not None:
        with open(options.csv, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(rows)
        print(f"Table: {options.csv}")
    return 0


def _root() -> Path:
    """The folder whose ``configs`` lists the papers.

    Raises:
        ValueError: there is none, as without a checkout.
    """
    from suite.execution.matrix import config_roots

    for root in config_roots():
        if (root / "configs" / "papers.yaml").is_file():
            return root
    raise ValueError("papers needs configs/papers.yaml, got none here; run it in a checkout of the suite.")


def _described(root: Path, paper: Paper, item: Item) -> tuple[list[str], list[dict[str, object]]]:
    """The lines and the rows of an item, a row per sweep or command."""
    from suite.sweep import read_spec
    from suite.sweep.papers import runs_of, runs_of_search, seeds_of, twin_of

    lines, rows = _filled(f"{item.name}: {item.shows}", first=""), []
    empty: dict[str, object] = {"paper": paper.name, "item": item.name, "shows": item.shows, "ours": item.ours}
    for name in item.sweeps:
        spec = read_spec(root / "configs" / "sweeps" / f"{name}.yaml")
        stated, seeds, runs, searched = (
            _papers_runs(item, name, spec),
            seeds_of(spec),
            runs_of(spec),
            runs_of_search(spec),
        )
        lines += _filled(
            f"configs/sweeps/{name}.yaml: {runs:,} runs{stated and f' ({stated})'}, "
            f"{seeds} seed{'s report' if seeds > 1 else ' reports: verdicts need more'}"
            f"{f'; with --search surface {searched:,} runs at most' if searched < runs else ''}"
        )
        twin, answer = twin_of(name), _answer(root, twin_of(name))
        exists = (root / "configs" / "sweeps" / f"{twin}.yaml").is_file()
        lines += _filled(f"on a laptop: configs/sweeps/{twin}.yaml, {answer or 'not answered yet'}" if exists else "")
        rows.append({
            **empty, "sweep": name, "runs": runs, "papers_runs": stated, "seeds": seeds,
            "search_runs": searched, "laptop": twin if exists else "", "answer": answer,
        })  # fmt: skip
    for command in item.commands:
        lines += _filled(f"python -m suite {command}")
        rows.append({**empty, "sweep": f"python -m suite {command}"})
    lines += _filled(f"ours: {item.ours}" if item.ours else "")
    return lines, rows or [empty]


def _papers_runs(item: Item, sweep: str, spec: SweepSpec) -> str:
    """The paper's number of settings in the parts of a sweep of which it tells it, beside the sweep's own."""
    from suite.sweep.papers import settings_by_optimizer

    facts = [fact for fact in item.facts if fact.sweep == sweep and fact.runs]
    theirs = sum(number for fact in facts for number in fact.runs.values())
    here = sum({**fact.runs, **fact.here}[name] for fact in facts for name in fact.runs)
    if not facts:
        return ""
    whole = here == sum(settings_by_optimizer(spec).values())
    return f"{theirs:,} in the paper" + ("" if whole else f" for {here:,} of them")


def _answer(root: Path, twin: str) -> str:
    """Where a laptop sweep's answer stands in the documentation; empty if it has none."""
    command = f"configs/sweeps/{twin}.yaml"
    for name in (f"{twin.partition('/')[0]}.md", "earlier.md"):
        page = root / "docs" / "results" / name
        if page.is_file() and command in page.read_text(encoding="utf-8"):
            return f"docs/results/{name}"
    return ""


def _filled(text: str, *, first: str = "    ") -> list[str]:
    from suite.fields import one_line

    return textwrap.wrap(one_line(text), WIDTH, initial_indent=first, subsequent_indent="      ")
