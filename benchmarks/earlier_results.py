"""What `docs/results` said before of questions, and what of it the seeds that reported can carry at 95%.

`earlier.csv` has a row per gap: the sweep, where it was measured, its size, whether it was called resolved, how many
seeds reported, and how many a sign at 95% takes. The runs themselves are lost.
"""

from __future__ import annotations

import pandas as pd
from result_texts import row, wrapped

from suite.analysis.words import number, optimizer_title, verdict_text
from suite.api import SweepResults

INTRODUCTION = """# Earlier tables

The runs behind these gaps are lost, and most had two reporting seeds. A sign stands where that was enough for it at
95%; everywhere else the gap is open, whatever an earlier page has said of it. The sweeps' files train them again.
"""


def is_decided(gaps: pd.DataFrame) -> pd.Series:
    """Which gaps were called resolved with as many seeds as their sign takes at 95%."""
    return gaps["resolved"] & (gaps["seeds_needed"] <= gaps["seeds"])


def earlier_page(earlier: pd.DataFrame, answers: dict[str, dict[str, str]]) -> str:
    """The page of the questions that were not trained again.

    Args:
        earlier: the table.
        answers: of these questions, by sweep.
    """
    heads = ["task", "optimizer against Adam", "batch size", "gap %", "seeds", "needed", "sign at 95%"]
    parts = [INTRODUCTION]
    for sweep, answer in answers.items():
        gaps = earlier[earlier["sweep"] == sweep]
        if gaps.empty:
            continue
        decided = is_decided(gaps)
        count = f"{int(decided.sum())} of {len(gaps)} gaps have a sign at 95%."
        lines = [f"## {answer['title']}", "", wrapped(f"`configs/sweeps/{sweep}.yaml`. {count}"), "", row(heads)]
        lines.append("|" + "---|" * len(heads))
        for gap, sure in zip(gaps.to_dict("records"), decided, strict=True):
            needed = "–" if pd.isna(gap["seeds_needed"]) else f"{gap['seeds_needed']:.0f}"
            sign = optimizer_title(str(gap["better"])) if sure else "open"
            size = number(gap["relative_gap"], "+.2f")
            names = [gap["task"], optimizer_title(str(gap["challenger"])), gap["batch_size"]]
            lines.append(row([*names, size, int(gap["seeds"]), needed, sign]))
        parts.append("\n".join([*lines, ""]))
    return "\n".join(parts)


def earlier_row(earlier: pd.DataFrame, sweep: str, title: str, now: SweepResults | None) -> str:
    """A question's row in the table of what became of earlier claims; empty where there were none.

    Args:
        earlier: the table.
        sweep: the question's.
        title: the question's.
        now: its results of today; None: not trained again.
    """
    gaps = earlier[(earlier["sweep"] == sweep) & earlier["resolved"]]
    if gaps.empty:
        return ""
    again = "not trained again"
    if now is not None:
        key = ["task", "batch_size", "reference", "challenger"]
        both = gaps.merge(now.gaps, on=key, suffixes=("", "_now"))
        same = sum(
            verdict_text({**gap, "verdict": gap["verdict"], "better": gap["better_now"]})
            == f"{optimizer_title(str(gap['better']))} better"
            for gap in both.to_dict("records")
        )
        again = f"{same} of {len(both)}"
    return row([title, len(gaps), int(is_decided(gaps).sum()), again])
