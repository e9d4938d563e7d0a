"""Copies of a run are one run: rows of equal task, optimizer, batch size, setting and seed.

A file that was exported twice, a run that was resumed and logged anew, or a pasted row would pass for further seeds,
and make an interval narrow that nothing new was measured for.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from suite.records import SETTLED

RUN = ["task", "optimizer", "batch_size", "setting", "seed"]
"""What makes two rows one run."""

MOST_NAMED = 6
"""Largest number of rows that one sentence names."""


def without_copies(runs: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The runs, each once, and what was left out.

    Of several rows of one run the one with a result and the longest history counts, whatever its loss, and of equally
    long ones the first. A row is a copy if its history is that of the row that counts, or if it has no result (an
    earlier state of the run); other rows contradict it.

    Args:
        runs: ``run_id`` (the row's number), the columns `RUN`, ``length`` and ``digest`` of the history, and
            ``status``.

    Returns:
        The rows that count, in their order, and a sentence each about the copies and about rows that contradict.
    """
    counted: list[int] = []
    copies: list[str] = []
    others: list[str] = []
    digests, statuses, numbers = (runs[name].tolist() for name in ("digest", "status", "run_id"))
    settled = [status in SETTLED for status in statuses]
    worth = list(zip(settled, runs["length"].tolist(), strict=True))
    for places in runs.groupby(RUN, sort=False).indices.values():
        best = max(places, key=worth.__getitem__)
        counted.append(best)
        for row in places:
            if row == best:
                continue
            same = digests[row] == digests[best] or not settled[row]
            (copies if same else others).append(f"row {numbers[row]} of row {numbers[best]}")
    return runs.iloc[sorted(counted)].reset_index(drop=True), _sentences(copies, others, len(runs))


def _sentences(copies: Sequence[str], others: Sequence[str], rows: int) -> tuple[str, ...]:
    notes = []
    if copies:
        notes.append(
            f"{len(copies)} of {rows} rows {'is a copy' if len(copies) == 1 else 'are copies'} (equal optimizer, batch "
            f"size, setting and seed) and no further {'run' if len(copies) == 1 else 'runs'}: {_named(copies)}."
        )
    if others:
        notes.append(
            f"{len(others)} of {rows} rows {'has' if len(others) == 1 else 'have'} the setting and seed of another row "
            f"but other losses, and {'does' if len(others) == 1 else 'do'} not count: {_named(others)}. The longest "
            "history counts, of equally long ones the first; give different runs different seeds in the column seed."
        )
    return tuple(notes)


def _named(rows: Sequence[str]) -> str:
    more = [f"and {len(rows) - MOST_NAMED} more"] if len(rows) > MOST_NAMED else []
    return ", ".join([*rows[:MOST_NAMED], *more])
