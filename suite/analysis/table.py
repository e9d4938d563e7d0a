"""The runs of a plan as a table: one row per run, whatever became of it.

Every other file of this package starts from this table, whether it was read from a store or from a CSV export. Its
columns:

==================  ====================================================================================
task                ``<dataset>/<architecture>``; the panel's name in a sweep of several; the data set's name for
                    a CSV export
run_id              the record's id, or the row number in a CSV export
optimizer           label of the optimizer in the sweep
batch_size, seed    integers
setting             the tried values as a sorted tuple of ``(field, value)`` pairs
status              ``finished``, ``diverged``, ``failed``, ``interrupted`` or ``missing``
loss                final loss; +inf when the run diverged, NaN when there is no result
steps               planned optimizer steps
round               0, or the number of the edge extension that added the run
lattice             in a search the values of every axis of its settings, tried or not, as a sorted tuple of
                    ``(field, values)``; empty in a grid
reporting           whether the run was made to report a chosen setting, with a seed that had no part in the choice
==================  ====================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from suite.records import Store, loss_of
from suite.records.tuning import hashable, setting_of

Lattice = tuple[tuple[str, tuple[Any, ...]], ...]
"""The values of every axis of a search's settings."""

STATUSES = ("finished", "diverged", "failed", "interrupted", "missing")


def panel_losses(plan: Mapping[str, Any]) -> dict[str, str]:
    """Definition of the final loss by panel, of the panels of a plan that have one of their own."""
    panels = plan.get("panels") or {}
    return {label: panel["final_loss"] for label, panel in panels.items() if panel.get("final_loss")}


def load_runs(
    store: Store, plan: Mapping[str, Any], *, final_loss: str | None = None, trunks: bool = False
) -> pd.DataFrame:
    """One row per run of a plan, in the plan's order, with what its record holds.

    Runs that were trained again for their diagnostics are left out; a run that the plan lists twice is there once.

    Args:
        store: where the records are; broken ones count as missing and are named in ``store.problems``.
        plan: what the sweep asked for; see `suite.records.Store.plan`.
        final_loss: definition of the final loss; by default the plan's, panel by panel.
        trunks: load the trunks, from which other runs start, instead of all other runs.

    Returns:
        The columns of this module's docstring, and the provenance columns ``diverged_at``, ``version``,
        ``commit``, ``dirty``, ``packages``, ``device``, ``host``, ``parameters``, ``heavy_ball`` (`is_heavy_ball`),
        ``tokens_per_sample`` (None for what has no tokens), ``data_name``,
        ``data_fingerprint``, ``started``, ``ended``, ``train_seconds``, ``eval_seconds``, ``log_seconds``,
        ``total_seconds``.

    Raises:
        ValueError: a definition of the final loss is asked for that a finished record does not hold.
    """
    chosen = [run for run in plan["runs"] if bool(run.get("keeps")) == trunks and not run.get("diagnoses")]
    by_panel = {} if final_loss else panel_losses(plan)
    once = {(run.get("panel"), run["optimizer"], run["batch_size"], run["run_id"]): run for run in reversed(chosen)}
    lattices = _lattices(plan)
    rows = [
        {
            **_row(plan, run, store.record(run["run_id"]), by_panel.get(run.get("panel", ""), final_loss)),
            "lattice": lattices.get((run.get("panel") or "", run["optimizer"], run["batch_size"]), ()),
        }
        for run in reversed(once.values())
    ]
    return pd.DataFrame(rows, columns=[*_row(plan, _BLANK_RUN, None, final_loss), "lattice"])


def _lattices(plan: Mapping[str, Any]) -> dict[tuple[str, str, int], Lattice]:
    """The lattices of a plan's searches, by panel, optimizer and batch size."""
    return {
        (group.get("panel") or "", group["optimizer"], group["batch_size"]): tuple(
            sorted((name, tuple(map(hashable, values))) for name, values in group["axes"].items())
        )
        for group in (plan.get("search") or {}).get("groups", ())
    }


_BLANK_RUN: dict[str, Any] = {"run_id": "", "optimizer": "", "batch_size": 0, "seed": 0, "axes": {}, "steps": 0}


def _row(
    plan: Mapping[str, Any], planned: Mapping[str, Any], record: Mapping[str, Any] | None, final_loss: str | None
) -> dict[str, Any]:
    facts = record or {}
    code, device = facts.get("code") or {}, facts.get("device") or {}
    data, seconds = facts.get("data") or {}, facts.get("seconds") or {}
    return {
        "task": planned.get("panel") or plan["task"],
        "run_id": planned["run_id"],
        "optimizer": planned["optimizer"],
        "batch_size": int(planned["batch_size"]),
        "seed": int(planned["seed"]),
        "setting": setting_of(planned["axes"]),
        "status": facts.get("status", "missing"),
        "loss": loss_of(record, final_loss or plan["final_loss"]),
        "steps": int(planned["steps"]),
        "round": int(planned.get("round", 0)),
        "reporting": bool(planned.get("reporting", False)),
        "diverged_at": facts.get("diverged_at"),
        "version": code.get("version"),
        "commit": code.get("commit"),
        "dirty": code.get("dirty"),
        "packages": json.dumps(facts["packages"], sort_keys=True) if facts.get("packages") else None,
        "device": f"{device.get('count', 1)} x {device.get('name') or device.get('kind')}" if device else None,
        "host": facts.get("host"),
        "parameters": facts.get("parameters"),
        "thinned": facts.get("thinned"),
        "heavy_ball": is_heavy_ball(planned["optimizer"], facts.get("optimizer") or {}),
        "tokens_per_sample": (facts.get("facts") or {}).get("seq_len"),
        "data_name": data.get("name"),
        "data_fingerprint": data.get("fingerprint"),
        "started": facts.get("started"),
        "ended": facts.get("ended"),
        **{f"{part}_seconds": seconds.get(part, math.nan) for part in ("train", "eval", "log", "total")},
    }


def was_searched(group: pd.DataFrame) -> bool:
    """Whether a search chose the settings of one task, optimizer and batch size, rather than a grid."""
    return "lattice" in group and bool(group["lattice"].iloc[0])


def is_heavy_ball(label: str, settings: Mapping[str, Any]) -> bool:
    """Whether an optimizer's momentum sums gradients, so that its steps are ``1 / (1 - momentum)`` times as long.

    Args:
        label: the optimizer's label in the sweep, which is its name if ``settings`` have none.
        settings: those of its record.
    """
    name = str(settings.get("name") or label).rpartition(".")[2].lower()
    return name.startswith("sgd") and not settings.get("damped") and not settings.get("dampening")
