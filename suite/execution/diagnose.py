"""Applies diagnostics to a network outside training, at saved or at initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.diagnostics.rows import Rows

RESOLVED = ("seed_everything", "trainer", "model", "data")
"""The parts of a run's configuration from which task, data and trainer are built."""


def diagnose(
    config: Mapping[str, Any], checkpoint: Path | None, diagnostics: Mapping[str, Any], device: str
) -> tuple[list[Rows], list[str]]:
    """Apply diagnostics to a network.

    Args:
        config: the resolved configuration of the network's run.
        checkpoint: the file of the weights; None: the run's initial weights.
        diagnostics: name -> settings; if empty, those of the task, or if it has none, every one that is possible.
        device: the device to compute on.

    Returns:
        The measurements, and a sentence for each diagnostic that was left out.

    Raises:
        ValueError: a requested diagnostic is impossible.
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
