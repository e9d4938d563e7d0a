"""Reads and writes the tables that commands put into pages of docs, between two marks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"


def marked(name: str) -> re.Pattern[str]:
    """The part of a page between the marks of a table: the first mark, the table, the last mark."""
    return re.compile(rf"(<!-- {name}: [^\n]* -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table(page: str, name: str) -> dict[str, list[str]]:
    """A table's first cells, each with the others of its row.

    Args:
        page: the page's file in docs.
        name: of the table's mark.
    """
    match = marked(name).search((DOCS / page).read_text(encoding="utf-8"))
    lines = match[2].strip().split("\n")[2:] if match else []
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in rows}


def put(page: str, name: str, text: str) -> None:
    """Put a table, or several, into a page."""
    path = DOCS / page
    before = path.read_text(encoding="utf-8")
    assert marked(name).search(before), f"docs/{page} has no mark for {name}"
    path.write_text(marked(name).sub(lambda match: f"{match[1]}\n{text}\n\n{match[3]}", before), encoding="utf-8")


class Planned(NamedTuple):
    """What was counted of a recipe for docs/scale.md.

    Attributes:
        peak: GiB of a step at most.
        flops: model FLOPs per token, or per sample of what has no tokens.
    """

    peak: float
    flops: float


def planned() -> dict[str, Planned]:
    """Task -> what its recipe takes."""
    rows = table("scale.md", "recipes")
    return {name: Planned(float(cells[3]), 1e9 * float(cells[5].split()[0])) for name, cells in rows.items()}
