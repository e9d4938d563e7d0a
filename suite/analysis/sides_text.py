"""Two sides for a terminal: which runs differ, and which answers."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from suite.analysis.caveats import damage_notes
from suite.analysis.columns import POINT, Column, cells
from suite.analysis.terminal import lines, printable, text_table
from suite.analysis.two_sides import TwoSides, same_runs
from suite.analysis.verdict import LEVEL
from suite.analysis.words import counted, format_setting, loss_text, optimizer_title, plain_number

MOST_RUNS = 10
"""Differing runs that are shown, the largest differences first."""

_CIRCUMSTANCES = {"data_fingerprint": "data", "commit": "code", "packages": "packages", "device": "device"}
"""Columns of runs that should be the same on both sides where a difference of losses is to mean something."""


def format_two_sides(sides: TwoSides, names: tuple[str, str]) -> str:
    """Everything that `compare` prints.

    Args:
        sides: see `suite.analysis.two_sides.two_sides`.
        names: what the sides are called.

    Returns:
        Lines of at most 100 columns, ended by a newline; names' control characters are shown escaped.
    """
    with sides.first.named():
        return _two_sides(sides, names)


def _two_sides(sides: TwoSides, names: tuple[str, str]) -> str:
    blocks = [
        f"A: {names[0]} ({sides.first.title})\nB: {names[1]} ({sides.second.title})",
        lines(_circumstances(sides)),
        lines(*damage_notes([*sides.first.problems, *sides.second.problems])),
        _runs(sides),
        _tuned(sides),
        _gaps(sides),
        lines(_verdict(sides)),
    ]
    return printable(blocks)


def _circumstances(sides: TwoSides) -> str:
    """Which of data, code, packages and device differ between the sides, as far as both record them."""
    different: list[str] = []
    for column, name in _CIRCUMSTANCES.items():
        first, second = (set(side.runs.get(column, pd.Series()).dropna()) for side in (sides.first, sides.second))
        if first and second and first != second:
            different.append(f"packages ({_versions(first, second)})" if column == "packages" else name)
    if not different:
        return ""
    return f"Not the same on both sides: {', '.join(different)}. What differs below may come from there."


def _versions(first: set[str], second: set[str]) -> str:
    """Names of the packages whose versions differ."""
    versions = [{(name, str(v)) for text in side for name, v in json.loads(text).items()} for side in (first, second)]
    return ", ".join(sorted({name for name, _ in versions[0] ^ versions[1]}))


def _runs(sides: TwoSides) -> str:
    same = same_runs(sides)
    only = [len(side.runs) - len(sides.runs) for side in (sides.first, sides.second)]
    how = "by id" if sides.by_id else "by optimizer, batch size, setting and seed"
    counts = lines(
        f"{counted(len(sides.runs), 'run')} on both sides (matched {how}), {only[0]} on A's alone, {only[1]} on B's "
        f"alone; of those on both, {int(same.sum())} with the same status and final loss."
    )
    differing = sides.runs[~same.to_numpy()]
    if differing.empty:
        return counts
    size = differing["difference"].abs().fillna(math.inf)
    shown = differing.loc[size.sort_values(ascending=False).index[:MOST_RUNS]]
    columns = [
        *POINT[::-1],
        Column("setting", lambda row: format_setting(row.setting), words=True),
        Column("seed", lambda row: str(row.seed)),
        Column("A", lambda row: _outcome(row.first_status, row.first_loss)),
        Column("B", lambda row: _outcome(row.second_status, row.second_loss)),
        _DIFFERENCE[0],
    ]
    return f"{counts}\n\nLargest differences:\n\n{text_table(*cells(columns, shown.itertuples(index=False)))}"


def _tuned(sides: TwoSides) -> str:
    columns = [
        *POINT[::-1],
        Column("A", lambda row: loss_text(row.first_loss)),
        Column("B", lambda row: loss_text(row.second_loss)),
        *_DIFFERENCE,
        Column("A's setting", lambda row: format_setting(row.first_setting), words=True),
        Column("B's setting", _second_setting, words=True),
    ]
    return f"Tuned points\n\n{text_table(*cells(columns, sides.tuned.itertuples(index=False)))}"


def _gaps(sides: TwoSides) -> str:
    if sides.gaps.empty:
        return ""
    columns = [
        Column("gap", lambda row: f"{optimizer_title(row.reference)} - {optimizer_title(row.challenger)}", words=True),
        POINT[0],
        Column("A", lambda row: plain_number(row.first_gap, "+.4f")),
        Column("B", lambda row: plain_number(row.second_gap, "+.4f")),
        *_DIFFERENCE,
        Column("A's verdict", lambda row: row.first_said, words=True),
        Column("B's verdict", lambda row: row.second_said, words=True),
    ]
    return f"Gaps\n\n{text_table(*cells(columns, sides.gaps.itertuples(index=False)))}"


_DIFFERENCE = [
    Column("B - A", lambda row: plain_number(row.difference, "+.4f")),
    Column("+/-", lambda row: plain_number(row.uncertainty)),
]


def _second_setting(row: Any) -> str:
    return "the same" if row.first_setting == row.second_setting else format_setting(row.second_setting)


def _verdict(sides: TwoSides) -> str:
    gaps = sides.gaps
    if gaps.empty:
        return "There is no gap on both sides."
    with_interval = gaps[gaps["uncertainty"].notna()]
    beyond = int((with_interval["difference"].abs() > with_interval["uncertainty"]).sum())
    named = gaps[gaps["first_better"].notna() & gaps["second_better"].notna()]
    contrary = int((named["first_better"] != named["second_better"]).sum())
    differ = "differs" if beyond == 1 else "differ"
    parts = [
        f"{beyond} of {len(with_interval)} with {LEVEL:.0%} intervals on both sides {differ} by more than these allow"
        if len(with_interval)
        else "on one side at least none has an interval (one seed), so that nothing tells a difference from noise",
        f"{contrary} of {len(named)} with a winner on both sides {'names' if contrary == 1 else 'name'} different ones"
        if len(named)
        else "none has a winner on both sides",
    ]
    return f"{counted(len(gaps), 'gap')} on both sides: {'; '.join(parts)}."


def _outcome(status: str, loss: float) -> str:
    return plain_number(loss) if status == "finished" else status
