"""Finds out which trunks have left the weights that branches start from, and which have diverged or failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from suite.records import Store

LOST = ("diverged", "failed")
"""Statuses of a trunk whose branches cannot be trained."""


def can_start(initial: tuple[str, int], store: Store) -> bool:
    """Whether a run can start from ``initial``, a run id and a step: that run has finished and kept these weights."""
    run_id, step = initial
    record = store.record(run_id)
    return record is not None and record["status"] == "finished" and store.settled(run_id, [step])


def lost_trunks(runs: Iterable[Mapping[str, Any]], store: Store) -> dict[str, str]:
    """Run id -> status of every trunk that diverged or failed, for the runs of a plan's record."""
    records = {run["run_id"]: store.record(run["run_id"]) for run in runs if run.get("keeps")}
    return {run_id: str(record["status"]) for run_id, record in records.items() if record and record["status"] in LOST}


def lost_sentences(runs: Iterable[Mapping[str, Any]], store: Store) -> list[str]:
    """A sentence for every trunk that diverged or failed: which branches cannot be trained.

    Args:
        runs: the runs of a plan's record.
        store: the store with the records.
    """
    runs = list(runs)
    sentences = []
    for run_id, status in lost_trunks(runs, store).items():
        trunk = next(run for run in runs if run["run_id"] == run_id)
        record = store.record(run_id) or {}
        at = f" at step {record['diverged_at']}" if status == "diverged" and "diverged_at" in record else ""
        count = len({run["run_id"] for run in runs if (run.get("initial") or ("",))[0] == run_id})
        then = "lower its lr" if status == "diverged" else "the same command trains it again"
        sentences.append(
            f"{count} {'branch' if count == 1 else 'branches'} of {trunk['panel']} at batch size "
            f"{trunk['batch_size']}, seed {trunk['seed']}, cannot be trained: the trunk {status}{at}; {then}."
        )
    return sentences
