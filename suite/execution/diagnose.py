"""Measures a network that is not being trained: finds its weights and applies diagnostics to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.records import Store

if TYPE_CHECKING:
    from suite.diagnostics.rows import Rows

RESOLVED = ("seed_everything", "trainer", "model", "data")
"""Parts of a run's configuration that the task and its data are built from; `fit` alone has others."""


def config_of(run_id: str, store: Store) -> dict[str, Any]:
    """The configuration of a run in a store.

    Raises:
        ValueError: there is no such run.
    """
    record = store.record(run_id)
    if record is None:
        raise ValueError(f"The store {store.path} has no run {run_id}; give --store or another --run.")
    return dict(record["config"])


def final_weights(run_id: str, store: Store) -> Path:
    """The file of the weights that a run ended with.

    Raises:
        ValueError: the run left none.
    """
    kept = store.run_folder(run_id) / "final.ckpt"
    if not kept.is_file():
        raise ValueError(
            f"Run {run_id} left no weights; train it with --keep_checkpoint, or give --checkpoint or --start."
        )
    return kept


def diagnose(
    config: Mapping[str, Any], checkpoint: Path | None, diagnostics: Mapping[str, Any], device: str
) -> tuple[list[Rows], list[str]]:
    """Measure a network.

    Args:
        config: the resolved configuration of its run.
        checkpoint: the file of its weights; None: those that it starts from.
        diagnostics: name -> settings; where there are none, those of its task, else every one that is possible.
        device: where to compute.

    Returns:
        The measurements, and a sentence for each diagnostic that was left out.

    Raises:
        ValueError: a diagnostic that was asked for is impossible.
    """
    from suite.diagnostics.at_checkpoint import Checkpointed
    from suite.diagnostics.catalogue import CATALOGUE, parse
    from suite.execution.resolver import Resolver
    from suite.training.opening import give_seed

    task, data = Resolver().build_data({key: value for key, value in config.items() if key in RESOLVED})
    give_seed(task, data, config)
    weights = Checkpointed(task, data, checkpoint, device)
    if chosen := parse(diagnostics or task.diagnostics):
        return [weights.measure(chosen)], []
    measured, left_out = [], []
    for name in CATALOGUE:
        try:
            measured.append(weights.measure(parse({name: {}})))
        except ValueError as error:
            left_out.append(str(error))
    return measured, left_out
