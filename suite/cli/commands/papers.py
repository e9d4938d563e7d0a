"""``papers``: every figure and table of the papers, the sweep that answers it, its counts, and what is ours in it."""

from __future__ import annotations

import csv
import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from suite.cli.parser import Parser

if TYPE_CHECKING:
    from suite.sweep import SweepSpec
    from suite.sweep.papers import Item, Paper

WIDTH = 100
COLUMNS = (
    "paper", "item", "shows", "sweep", "runs", "trunks", "papers_runs", "seeds", "search_runs", "laptop", "answer",
    "ours",
)  # fmt: skip


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
    blocks, rows = [], []
    for paper in papers:
        blocks.append(f"{paper.name}: {paper.title}")
        for item in paper.items:
            lines, of_item = _described(root, paper, item)
            blocks.append("\n".join(lines))
            rows += of_item
    if options.csv is not None:
        _write(options.csv, rows)
    print("\n\n".join(blocks) + "\n")
    if options.csv is not None:
        print(f"Table: {options.csv}")
    return 0


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write the list as a table.

    Raises:
        ValueError: the file cannot be written.
    """
    from suite.records.files import write_text_atomically

    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    table.writerows(rows)
    try:
        write_text_atomically(path, text.getvalue())
    except OSError as error:
        raise ValueError(f"The table could not be written to {path} ({error}); give another file.") from error


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
    lines, rows = _filled(f"{item.name}: {item.shows}", first=""), []
    empty: dict[str, object] = {"paper": paper.name, "item": item.name, "shows": item.shows, "ours": item.ours}
    for name in item.sweeps:
        of_sweep, cells = _sweep(root, item, name)
        lines += of_sweep
        rows.append({**empty, **cells})
    for command in item.commands:
        lines += _filled(f"python -m suite {command}")
        rows.append({**empty, "sweep": f"python -m suite {command}"})
    lines += _filled(f"ours: {item.ours}" if item.ours else "")
    return lines, rows or [empty]


def _sweep(root: Path, item: Item, name: str) -> tuple[list[str], dict[str, object]]:
    """The lines and the cells of one of an item's sweeps."""
    from suite.sweep import read_spec
    from suite.sweep.papers import runs_of, runs_of_search, seeds_of, trunks_of, twin_of

    spec, twin = read_spec(root / "configs" / "sweeps" / f"{name}.yaml"), twin_of(name)
    runs, trunks, seeds, searched = runs_of(spec), trunks_of(spec), seeds_of(spec), runs_of_search(spec)
    stated, answer = _papers_runs(item, name, spec), _answer(root, twin)
    lines = _filled(
        f"configs/sweeps/{name}.yaml: {runs:,} runs{(trunks and f', {trunks} of them trunks') or ''}"
        f"{stated and f' ({stated})'}, {seeds} seed{'s report' if seeds > 1 else ' reports: verdicts need more'}"
        f"{f'; with --search surface at most {searched:,}, past the ends of grids too' if searched != runs else ''}"
    )
    exists = (root / "configs" / "sweeps" / f"{twin}.yaml").is_file()
    lines += _filled(f"on a laptop: configs/sweeps/{twin}.yaml, {answer or 'not answered yet'}" if exists else "")
    cells = {
        "sweep": name, "runs": runs, "trunks": trunks, "papers_runs": stated, "seeds": seeds, "search_runs": searched,
        "laptop": twin if exists else "", "answer": answer,
    }  # fmt: skip
    return lines, cells


def _papers_runs(item: Item, sweep: str, spec: SweepSpec) -> str:
    """The paper's number of settings in the parts of a sweep of which it tells it, beside the sweep's own."""
    from suite.sweep.papers import papers_settings, settings_by_optimizer

    theirs, here = papers_settings(item, sweep)
    if not theirs:
        return ""
    whole = here == sum(settings_by_optimizer(spec).values())
    return f"{theirs:,} in the paper" + ("" if whole else f" for {here:,} of them")


def _answer(root: Path, twin: str) -> str:
    """Where the documentation has a laptop sweep's answer; empty without an archive of its runs."""
    results = Path("docs", "results")
    archived = (root / results / twin.replace("/laptop/", "_") / "runs.parquet").is_file()
    return str(results / f"{twin.partition('/')[0]}.md") if archived else ""


def _filled(text: str, *, first: str = "    ") -> list[str]:
    from suite.fields import one_line

    return textwrap.wrap(one_line(text), WIDTH, initial_indent=first, subsequent_indent="      ")
