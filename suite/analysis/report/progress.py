"""What a page that is drawn while its sweep runs says of what is still to come."""

from __future__ import annotations

import datetime

from suite.analysis.comparison import Comparison
from suite.analysis.report.page import Markup, element, section, table
from suite.analysis.words import optimizer_title
from suite.records import SETTLED


def progress_section(comparison: Comparison, seconds: float, now: datetime.datetime) -> Markup:
    """How many runs have a result, by optimizer and batch size.

    Args:
        comparison: of the runs so far.
        seconds: between two looks at the store.
        now: the time of drawing.
    """
    runs = comparison.runs.assign(settled=comparison.runs["status"].isin(SETTLED))
    sentence = (
        f"{runs['settled'].sum()} of {len(runs)} runs have a result, as of {now:%H:%M:%S} {now:%Z}. The runs that are "
        f"still to come may change everything below. This page loads itself anew every {seconds:g} s and is drawn anew "
        "when there are new results."
    )
    rows = []
    for (task, optimizer, size), group in runs.groupby(["task", "optimizer", "batch_size"], sort=False):
        done, diverged = int(group["settled"].sum()), int((group["status"] == "diverged").sum())
        failed = int(group["status"].isin(["failed", "interrupted"]).sum())
        rows.append([task, optimizer_title(str(optimizer)), size, f"{done} of {len(group)}", diverged, failed])
    head = ["task", "optimizer", "batch size", "with a result", "diverged", "failed, interrupted"]
    return section("While the sweep runs", element("p", sentence), table(head, rows, left=[0, 1]))
